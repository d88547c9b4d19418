//! The commands of `warifu` and `warifu-node`, run as a person runs them: as processes, judged by exit code and what they print.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde::de::DeserializeOwned;
use tokio::process::Command;
use warifu::local_cluster::{LocalCluster, NODE_COMMAND};
use warifu_protocol::OfficerRole;

use crate::command::WARIFU_COMMAND;

/// A shell with the cluster's genesis and the CA desk's connection in its environment.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    program: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
    url: String,
    passphrase: PathBuf,
    officers: Vec<(OfficerRole, PathBuf)>,
}

/// What a command did.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Commands {
    pub(crate) fn of(cluster: &LocalCluster, program: &Path) -> Self {
        let files = &cluster.identity(LocalCluster::CLIENT_CA).files;
        let environment = vec![
            ("WARIFU_GENESIS", cluster.genesis_file()),
            ("WARIFU_CA", cluster.ca_file()),
            ("WARIFU_CERT", files.certificate.clone()),
            ("WARIFU_KEY", files.key.clone()),
        ];
        let officers = &cluster.officers;
        let keys = officers.keys.iter().map(|key| key.officer().role).zip(officers.files.iter().cloned()).collect();
        Self { program: program.to_owned(), environment, url: cluster.url(), passphrase: officers.passphrase_file.clone(), officers: keys }
    }

    /// `warifu ARGUMENTS`.
    pub(crate) async fn warifu(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let own = std::env::current_exe().is_ok_and(|own| own == self.program);
        self.run(own.then_some(WARIFU_COMMAND), arguments).await
    }

    /// `warifu-node ARGUMENTS`.
    pub(crate) async fn node(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        self.run(Some(NODE_COMMAND), arguments).await
    }

    /// `warifu ARGUMENTS`, approved at once by two officers of this role.
    pub(crate) async fn approved(&self, role: OfficerRole, arguments: &[&str]) -> anyhow::Result<Said> {
        let keys: Vec<&Path> = self.keys(role).collect();
        let mut all = arguments.to_vec();
        all.extend(["--yes", "--passphrase-file", text(&self.passphrase)?, "--approve-with"]);
        for key in keys {
            all.push(text(key)?);
        }
        self.warifu(&all).await?.must(arguments)
    }

    /// `warifu ARGUMENTS` for an order that needs the security officers and sites: written to `file`, approved, consented to at each of these sockets,
    /// and submitted.
    pub(crate) async fn consented(&self, arguments: &[&str], file: &Path, sockets: &[PathBuf]) -> anyhow::Result<Said> {
        let order = text(file)?;
        let mut all = arguments.to_vec();
        all.extend(["--order-out", order]);
        self.warifu(&all).await?.must(&all)?;
        for key in self.keys(OfficerRole::SecurityOfficer) {
            let approve =
                ["officer", "approve", "--order", order, "--key", text(key)?, "--yes", "--passphrase-file", text(&self.passphrase)?];
            self.warifu(&approve).await?.must(&approve)?;
        }
        for socket in sockets {
            let consent = ["admin", "--socket", text(socket)?, "consent", "--order", order, "--yes"];
            self.node(&consent).await?.must(&consent)?;
        }
        self.warifu(&["officer", "submit", "--order", order]).await?.must(arguments)
    }

    fn keys(&self, role: OfficerRole) -> impl Iterator<Item = &Path> {
        self.officers.iter().filter(move |(of, _)| *of == role).map(|(_, key)| key.as_path())
    }

    async fn run(&self, command: Option<&str>, arguments: &[&str]) -> anyhow::Result<Said> {
        let mut process = Command::new(&self.program);
        process.args(command).args(arguments).envs(self.environment.iter().cloned()).env("WARIFU_API", &self.url);
        let output = process.stdin(Stdio::null()).kill_on_drop(true).output().await.context("the command cannot be started")?;
        let read = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said { code: output.status.code(), out: read(&output.stdout), err: read(&output.stderr) })
    }
}

impl Said {
    /// Refuses what did not end well.
    pub(crate) fn must(self, arguments: &[&str]) -> anyhow::Result<Self> {
        ensure!(self.code == Some(0), "`{}` ended with {:?}: {}{}", arguments.join(" "), self.code, self.out, self.err);
        Ok(self)
    }

    /// Its standard output, read as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_str(&self.out).with_context(|| format!("not the JSON that was expected: {}", self.out))
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

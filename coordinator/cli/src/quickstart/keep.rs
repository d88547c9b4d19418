//! What a person can do with a cluster that stays up.

use std::path::Path;

use super::story::{SIGNED_DIRECTORY, Told};
use crate::local_cluster::LocalCluster;

/// The commands, to be pasted as they stand.
pub(super) fn text(told: &Told, program: &Path) -> String {
    let cluster = &told.cluster;
    let (url, directory, program) = (cluster.url(), cluster.directory().display(), program.display());
    let connection = |client: &str| {
        let files = &cluster.identity(client).files;
        format!("--api {url} --ca {} --cert {} --key {}", cluster.ca_file().display(), files.certificate.display(), files.key.display())
    };
    let (clinic, operations) = (cluster.identity(LocalCluster::CLIENT_CLINIC), cluster.identity(LocalCluster::CLIENT_OPERATIONS));
    let doctor = &told.doctor;
    let login = format!(
        "{program} terminal login --credential {} --facility {} --terminal-key {} --genesis {} --card {} --pin-file {} --max 100 --out {directory}/my-session.json {}",
        doctor.credential,
        doctor.facility,
        doctor.terminal_file.display(),
        cluster.genesis_file().display(),
        doctor.card_file.display(),
        doctor.pin_file.display(),
        connection(LocalCluster::CLIENT_CLINIC)
    );
    format!(
        "The cluster stays up until Ctrl-C.\n\
         coordinator   {url}\n\
         clinic        {} {}\n\
         operations    {} {}\n\
         How it is:\n  {program} status {}\n  curl --cacert {} --cert {} --key {} {url}/v1/status\n\
         Its credentials:\n  {program} credential list {}\n\
         Log in as the doctor, sign a prescription, log out:\n  {login}\n  \
         {program} terminal sign {directory}/{UNSIGNED_FILE} --session {directory}/my-session.json --kind prescription --out {directory}/{SIGNED_DIRECTORY}/mine.xml {}\n  \
         {program} verify {directory}/{SIGNED_DIRECTORY}/mine.xml --trust {directory}/{SIGNED_DIRECTORY}\n  \
         {program} terminal logout --session {directory}/my-session.json {}\n\
         The pharmacist is credential {} at facility {}; everything lies in {directory}",
        clinic.files.certificate.display(),
        clinic.files.key.display(),
        operations.files.certificate.display(),
        operations.files.key.display(),
        connection(LocalCluster::CLIENT_OPERATIONS),
        cluster.ca_file().display(),
        operations.files.certificate.display(),
        operations.files.key.display(),
        connection(LocalCluster::CLIENT_OPERATIONS),
        connection(LocalCluster::CLIENT_CLINIC),
        connection(LocalCluster::CLIENT_CLINIC),
        told.pharmacist.credential,
        told.pharmacist.facility,
    )
}

/// An unsigned sample for the person to sign.
pub(super) const UNSIGNED_FILE: &str = "unsigned-prescription.xml";

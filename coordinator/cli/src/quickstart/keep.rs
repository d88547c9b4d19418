//! What a person can do with a cluster that stays up.

use std::path::Path;

use super::shell::word;
use super::story::{SIGNED_DIRECTORY, Told};
use crate::local_cluster::LocalCluster;

/// The commands, to be pasted as they stand.
pub(super) fn text(told: &Told, program: &Path) -> String {
    let cluster = &told.cluster;
    let (url, directory, program) = (cluster.url(), cluster.directory(), word(program));
    let inside = |path: &str| word(&directory.join(path));
    let client = |client: &str| {
        let files = &cluster.identity(client).files;
        (word(&files.certificate), word(&files.key))
    };
    let ca = word(&cluster.ca_file());
    let connection = |(certificate, key): &(String, String)| format!("--api {url} --ca {ca} --cert {certificate} --key {key}");
    let (clinic, operations) = (client(LocalCluster::CLIENT_CLINIC), client(LocalCluster::CLIENT_OPERATIONS));
    let (at_clinic, at_operations) = (connection(&clinic), connection(&operations));
    let doctor = &told.doctor;
    let (session, signed) = (inside("my-session.json"), inside(&format!("{SIGNED_DIRECTORY}/mine.xml")));
    let login = format!(
        "{program} terminal login --credential {} --facility {} --terminal-key {} --genesis {} --card {} --pin-file {} --max 100 --out {session} {at_clinic}",
        doctor.credential,
        doctor.facility,
        word(&doctor.terminal_file),
        word(&cluster.genesis_file()),
        word(&doctor.card_file),
        word(&doctor.pin_file),
    );
    format!(
        "The cluster stays up until Ctrl-C.\n\
         coordinator   {url}\n\
         clinic        {} {}\n\
         operations    {} {}\n\
         How it is:\n  {program} status {at_operations}\n  curl --cacert {ca} --cert {} --key {} {url}/v1/status\n\
         Its credentials:\n  {program} credential list {at_operations}\n\
         Log in as the doctor, sign a prescription, log out:\n  {login}\n  \
         {program} terminal sign {} --session {session} --kind prescription --out {signed} {at_clinic}\n  \
         {program} verify {signed} --trust {}\n  \
         {program} terminal logout --session {session} {at_clinic}\n\
         The pharmacist is credential {} at facility {}; everything lies in {}",
        clinic.0,
        clinic.1,
        operations.0,
        operations.1,
        operations.0,
        operations.1,
        inside(UNSIGNED_FILE),
        inside(SIGNED_DIRECTORY),
        told.pharmacist.credential,
        told.pharmacist.facility,
        directory.display(),
    )
}

/// An unsigned sample for the person to sign.
pub(super) const UNSIGNED_FILE: &str = "unsigned-prescription.xml";

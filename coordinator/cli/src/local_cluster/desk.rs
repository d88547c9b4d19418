//! What the CA's desk of a local cluster does: every order is approved by as many officers as the genesis asks for.

use std::path::Path;
use std::time::{Duration, Instant};

use warifu_api::{ApiClient, OrderAnswer};
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{
    AuthenticatorKind, Blob, CredentialId, Enrolment, Name, ObjectVersion, OrderCommand, PublicKey, SubjectFields, TerminalId,
};

use super::cluster::LocalCluster;
use super::error::LocalClusterError;
use crate::card::{Card, Pin};
use crate::clock::now;
use crate::credential::{bind_command, crl_command};
use crate::orders::{OrderError, OrderFile, submit, versioned_object};
use crate::trial_command::{list_times, signing_validity};

/// A holder to enrol.
#[derive(Clone, Debug)]
pub struct NewHolder {
    /// The CA's identifier.
    pub holder: Name,
    /// Subject of the certificate.
    pub subject: SubjectFields,
}

impl LocalCluster {
    /// Writes an order for the object's present version, has it approved and submits it; does so again when the object was changed meanwhile.
    ///
    /// # Errors
    /// [`LocalClusterError::Order`] with the cluster's refusal.
    pub async fn order(&self, command: OrderCommand, crl: Option<&[u8]>) -> Result<OrderAnswer, LocalClusterError> {
        let client = self.client(Self::CLIENT_CA, ORDER_DEADLINE)?;
        let mut moved = 0;
        loop {
            match self.order_once(&client, command.clone(), crl).await {
                Err(LocalClusterError::Order(OrderError::Api(error)))
                    if moved < VERSION_TRIES && error.problem().is_some_and(|problem| problem.code() == VERSION_MOVED) =>
                {
                    moved += 1;
                    tokio::time::sleep(VERSION_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn order_once(&self, client: &ApiClient, command: OrderCommand, crl: Option<&[u8]>) -> Result<OrderAnswer, LocalClusterError> {
        let version = match versioned_object(&command) {
            Some(object) => client.object_version(&object).await?,
            None => ObjectVersion(0),
        };
        let mut order = OrderFile::draft(self.genesis().cluster(), command, version, now(), ORDER_LIFE_MILLIS);
        for rule in self.genesis().body().policy.rules_for(order.0.body.order.class()) {
            for officer in self.officers.of_role(rule.role, usize::from(rule.count)) {
                order.approve(officer, now())?;
            }
        }
        Ok(submit(client, &order, crl).await?)
    }

    /// Brings empty lists of both trial CAs into the log; `number` must grow from call to call.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub async fn publish_crls(&self, number: u64) -> Result<(), LocalClusterError> {
        let (from, until) = list_times(now());
        for list in [self.hpki.crl(number, &[], from, until)?, self.jpki.crl(number, &[], from, until)?] {
            self.order(crl_command(&list, None)?, Some(&list)).await?;
        }
        Ok(())
    }

    /// Enrols a facility and a terminal in it.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub async fn enrol_facility(&self, facility: &Name, terminal: TerminalId, key: PublicKey) -> Result<(), LocalClusterError> {
        self.order(OrderCommand::EnrolFacility { facility: facility.clone() }, None).await?;
        self.order(OrderCommand::EnrolTerminal { terminal, facility: facility.clone(), key }, None).await?;
        Ok(())
    }

    /// Enrols holders in one ceremony and waits until every one of them has a key. Returns their credentials in the same order.
    ///
    /// # Errors
    /// [`LocalClusterError::Ceremony`] when the ceremony takes too long, and see [`LocalClusterError`].
    pub async fn enrol(&self, holders: &[NewHolder]) -> Result<Vec<CredentialId>, LocalClusterError> {
        let enrolments: Vec<Enrolment> = holders
            .iter()
            .map(|one| Enrolment {
                credential: CredentialId::new(rand::random()),
                holder: one.holder.clone(),
                subject: one.subject.clone(),
            })
            .collect();
        let credentials: Vec<CredentialId> = enrolments.iter().map(|one| one.credential).collect();
        self.order(OrderCommand::Enrol { enrolments }, None).await?;
        let client = self.client(Self::CLIENT_CA, ORDER_DEADLINE)?;
        let end = Instant::now() + CEREMONY_DEADLINE;
        for &credential in &credentials {
            while client.credential(credential).await?.state == CredentialState::Generating {
                if Instant::now() >= end {
                    return Err(LocalClusterError::Ceremony { credential, deadline: CEREMONY_DEADLINE });
                }
                tokio::time::sleep(CEREMONY_POLL).await;
            }
        }
        Ok(credentials)
    }

    /// Has the sites sign the credential's CSR, has the trial CA certify it with these hcRoles, and installs the certificate.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub async fn certify(&self, credential: CredentialId, roles: &[&str]) -> Result<(), LocalClusterError> {
        let client = self.client(Self::CLIENT_CA, ORDER_DEADLINE)?;
        let csr = client.csr(credential).await?.der;
        let certificate = Blob(self.hpki.issue_signing_certificate(csr.as_slice(), roles, signing_validity(now()))?);
        self.order(OrderCommand::InstallCertificate { credential, certificate, intermediates: Vec::new() }, None).await?;
        Ok(())
    }

    /// Binds a My Number Card: the card signs, and as many officers approve as the genesis asks for.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub async fn bind(&self, credential: CredentialId, card: &mut dyn Card, pin: &Pin) -> Result<(), LocalClusterError> {
        let kind = AuthenticatorKind::MyNumberCard;
        let command = bind_command(self.genesis().cluster(), credential, kind, Vec::new(), card, pin)?;
        self.order(command, None).await?;
        Ok(())
    }

    /// Writes the CA that holders' certificates chain to, for `warifu verify --trust`.
    ///
    /// # Errors
    /// [`LocalClusterError::File`].
    pub fn write_trust_anchor(&self, path: &Path) -> Result<(), LocalClusterError> {
        let text = pem::encode(&pem::Pem::new("CERTIFICATE", self.hpki.certificate_der()));
        Ok(crate::files::write_new(path, text.as_bytes(), crate::files::MODE_PUBLIC)?)
    }
}

/// An order of the trial desk is submitted at once.
const ORDER_LIFE_MILLIS: u64 = 10 * 60 * 1000;
/// Long enough for an election in between.
const ORDER_DEADLINE: Duration = Duration::from_secs(15);
/// Longer than the genesis gives a ceremony before it is restarted, so that one restart is survived.
const CEREMONY_DEADLINE: Duration = Duration::from_secs(45);
/// How often a ceremony is looked at.
const CEREMONY_POLL: Duration = Duration::from_millis(100);
/// Code of the refusal of an order for a version that has moved on.
const VERSION_MOVED: &str = "object-version-moved";
/// How often an order is written anew for a moved version: the version that was read may come from nodes a little behind.
const VERSION_TRIES: u32 = 10;
/// Time for such nodes to catch up.
const VERSION_PAUSE: Duration = Duration::from_millis(100);

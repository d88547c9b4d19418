//! What the node does for coordinators and other nodes.

mod asking;
mod background;
mod ceremony;
mod confirm;
mod destroy;
mod import;
mod order;
mod refusals;
mod retention;
mod rpc;
mod scrub;
mod share_batch;
mod sign;
mod snapshot_judge;
mod stop;

pub use background::Background;
pub use ceremony::CeremonyService;
pub use confirm::ConfirmService;
pub use destroy::DestroyService;
pub use order::OrderService;
pub use refusals::Refusals;
pub use retention::{Retention, SPENT_KEPT_MILLIS};
pub use rpc::NodeRpc;
pub use share_batch::{ShareBatch, ShareGiver};
pub use sign::SignService;
pub use snapshot_judge::{Announced, SnapshotJudge, SnapshotRefused, explain};
pub use stop::StopService;

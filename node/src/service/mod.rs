//! What the node does for coordinators and other nodes.

mod background;
mod ceremony;
mod confirm;
mod destroy;
mod order;
mod rpc;
mod sign;
mod snapshot_judge;
mod stop;

pub use background::Background;
pub use ceremony::CeremonyService;
pub use confirm::ConfirmService;
pub use destroy::DestroyService;
pub use order::OrderService;
pub use rpc::NodeRpc;
pub use sign::SignService;
pub use snapshot_judge::{SnapshotJudge, SnapshotRefused};
pub use stop::StopService;

//! The Lock service: one owner at a time for a name, as long as the owner's lease lives.

use std::sync::Arc;

use etched_proto::wire::v3lockpb as wire;
use etched_state_machine::{Txn, TxnOp};
use tonic::{Request, Response, Status};
use wire::lock_server::Lock;

use super::errand::{self, Errand, Told, Withdrawal};
use crate::front::Link;

/// Answers calls of the Lock service.
#[derive(Clone, Debug)]
pub(super) struct LockService {
    pub(super) link: Arc<Link>,
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(
        &self,
        request: Request<wire::LockRequest>,
    ) -> Result<Response<wire::LockResponse>, Status> {
        let errand = Errand::of(&self.link, &request);
        let wire::LockRequest { name, lease } = request.into_inner();
        let lease = errand.lease(lease).await?;
        let prefix = errand::prefix_of(&name);
        let key = errand::key_of(&prefix, lease);
        let read_oldest = TxnOp::Range(errand::oldest(&prefix));
        let txn = Txn {
            compares: vec![errand::was_created_at(key.clone(), 0)],
            success: vec![errand::put(key.clone(), Default::default(), lease), read_oldest.clone()],
            // Who has the lock already has it again.
            failure: vec![TxnOp::Range(errand::get(key.clone())), read_oldest],
        };
        let told = errand.txn(txn).await?;
        let own = match told.what.succeeded {
            true => told.revision(),
            false => errand::first_read(&told.what, 0)?.map_or(0, |record| record.create_revision),
        };
        let owner = errand::first_read(&told.what, 1)?;
        let is_owner = owner.is_none_or(|owner| owner.create_revision == own);
        let header = if is_owner { told.header } else { wait(&errand, &prefix, &key, own).await? };
        Ok(Response::new(wire::LockResponse { header, key }))
    }

    async fn unlock(
        &self,
        request: Request<wire::UnlockRequest>,
    ) -> Result<Response<wire::UnlockResponse>, Status> {
        let errand = Errand::of(&self.link, &request);
        let Told { header, .. } = errand.delete(request.into_inner().key).await?;
        Ok(Response::new(wire::UnlockResponse { header }))
    }
}

type Header = Option<etched_proto::wire::etcdserverpb::ResponseHeader>;

/// Waits for the lock; a caller that goes away, or gets an error, does not stay in the queue.
async fn wait(errand: &Errand, prefix: &[u8], key: &bytes::Bytes, own: i64) -> Result<Header, Status> {
    let withdrawal = Withdrawal::new(errand, errand::delete(key.clone()));
    errand.wait_for_turn(prefix, own).await?;
    let told = errand.get(key.clone()).await?;
    withdrawal.cancel();
    match told.what {
        Some(_) => Ok(told.header),
        None => Err(Status::unknown("mutex: session is expired")),
    }
}

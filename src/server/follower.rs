//! Who follows the store.

use crate::{api::audit_log::Retention, domain::Error, gateway::Gateway};
use tokio::sync::oneshot;

/// Follows the store on a thread of its own: a crowd that keeps the others busy does not make this node one that knows nothing new.
pub(super) struct Follower {
    end: oneshot::Sender<()>,
    connections: Connections,
}

/// Keeps what the follower's connections need until they are closed.
pub(super) type Connections = oneshot::Sender<()>;

impl Follower {
    pub(super) fn start(gateway: &Gateway, retention: Retention) -> Result<Self, Error> {
        let store = gateway.broker.store.clone();
        let ((end, ended), (connections, closed)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::internal)?;
        let work = async move {
            tokio::select! {
                () = store.follow(retention) => tracing::error!("the store is not followed any more"),
                _ = ended => {}
            }
            let _ = closed.await;
        };
        let thread = std::thread::Builder::new().name("follower".to_owned());
        thread.spawn(move || runtime.block_on(work)).map_err(Error::internal)?;
        Ok(Self { end, connections })
    }

    /// Stops; connections stay until what is returned is dropped.
    pub(super) fn end(self) -> Connections {
        drop(self.end);
        self.connections
    }
}

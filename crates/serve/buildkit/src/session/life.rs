//! How long a build waits for its client.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::Status;

/// Whether a build is still wanted: threads of it that wait for its client wait no longer. Clones are of the same build.
#[derive(Debug, Clone, Default)]
pub struct Life(Arc<watch::Sender<bool>>);

impl Life {
    /// The build is over.
    pub fn end(&self) {
        self.0.send_replace(true);
    }

    /// What comes of the client, unless the build is over before.
    pub async fn share<T>(&self, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let mut over = self.0.subscribe();
        tokio::select! {
            answer = answer => answer,
            _ = over.wait_for(|over| *over) => Err(Status::cancelled("build canceled")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_a_build_that_is_over() {
        let life = Life::default();
        assert_eq!(life.share(async { Ok(1) }).await.unwrap(), 1);
        let never = std::future::pending::<Result<(), Status>>();
        let (waited, ()) = tokio::join!(life.share(never), async { life.clone().end() });
        assert_eq!(waited.unwrap_err().code(), tonic::Code::Cancelled);
        let never = std::future::pending::<Result<(), Status>>();
        assert!(life.share(never).await.is_err());
    }
}

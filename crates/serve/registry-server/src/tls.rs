//! Encrypted connections: a certificate and its key from files, which are read again when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Files that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("there is no certificate in {}", .0.display())]
    Empty(PathBuf),
    #[error("use the certificate in {}", path.display())]
    Unfit {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
}

pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    state: RwLock<(Arc<ServerConfig>, [Option<SystemTime>; 2])>,
}

impl Tls {
    pub(crate) fn open(certificate: &Path, key: &Path) -> Result<Tls, Error> {
        let times = [certificate, key].map(changed);
        let config = load(certificate, key)?;
        let state = RwLock::new((Arc::new(config), times));
        Ok(Tls { certificate: certificate.to_owned(), key: key.to_owned(), state })
    }

    /// Takes the files as they are now, if they are others. A pair that does not fit is told in the log.
    pub(crate) fn refresh(&self) {
        let times = [self.certificate.as_path(), self.key.as_path()].map(changed);
        if self.state.read().unwrap_or_else(PoisonError::into_inner).1 == times {
            return;
        }
        match load(&self.certificate, &self.key) {
            Ok(config) => {
                *self.state.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(config), times);
            }
            Err(error) => {
                tracing::error!(error = %crate::error::chain(&error), "a changed certificate is not used")
            }
        }
    }

    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let config = self.state.read().unwrap_or_else(PoisonError::into_inner).0.clone();
        TlsAcceptor::from(config).accept(stream).await
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn load(certificate: &Path, key: &Path) -> Result<ServerConfig, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).map_err(failed(certificate))?.collect();
    let chain = chain.map_err(failed(certificate))?;
    if chain.is_empty() {
        return Err(Error::Empty(certificate.to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
    let unfit = |source| Error::Unfit { path: certificate.to_owned(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(unfit)?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, private).map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

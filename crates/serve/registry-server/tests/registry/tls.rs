//! Encrypted connections.

use crate::client::{Answer, world, world_of};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/registry/tls").join(name)
}

#[tokio::test]
async fn a_connection_is_encrypted() {
    let world = world_of(|config| config.tls = Some((file("certificate.pem"), file("key.pem")))).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("certificate.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(world.served.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert_eq!(Answer::parse(&bytes).status, 200);
    let plain = world.raw(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let plain = Answer::parse(&plain);
    assert_eq!(plain.status, 400, "{}", plain.head);
    assert_eq!(plain.body, b"Client sent an HTTP request to an HTTPS server.\n");
}

#[tokio::test]
async fn files_that_are_no_certificates() {
    let world = world().await;
    let nothing = world.dir.path().join("nothing");
    std::fs::write(&nothing, "nothing").unwrap();
    let certificate = file("certificate.pem");
    for (certificate, key) in [
        (nothing.clone(), file("key.pem")),
        (certificate.clone(), nothing.clone()),
        (certificate.clone(), world.dir.path().join("absent")),
        (certificate.clone(), certificate),
    ] {
        let mut config = registry_server::Config::new(world.dir.path().join("other"));
        config.tls = Some((certificate.clone(), key.clone()));
        let error = registry_server::Registry::open(config).await.err();
        assert!(error.is_some(), "{} {}", certificate.display(), key.display());
    }
}

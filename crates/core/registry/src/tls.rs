//! Encrypted connections: whose certificates are believed, and which one is ours.
//!
//! The system's authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` move them) and those that are configured for a host. A
//! certificate that is configured as an authority and presented by the host itself is believed too, as Go does: tutorials make
//! one self-signed certificate that is both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};

use crate::error::{Error, UNKNOWN_AUTHORITY};
use crate::settings::{InvalidSettings, Tls};

pub(crate) fn config(tls: &Tls) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match tls.unverified {
        true => Arc::new(Nobody(provider.clone())),
        false => Arc::new(Verifier::new(&tls.authorities, &provider)?),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls(error.into()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some((certificate, key)) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate)?;
    let secret =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| InvalidSettings::NoKey(key.clone()))?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| {
        let problem = error.to_string();
        InvalidSettings::Certificate { path: certificate.clone(), problem }.into()
    })
}

fn read(path: &Path) -> Result<Vec<u8>, InvalidSettings> {
    std::fs::read(path).map_err(|source| InvalidSettings::Read { path: path.to_owned(), source })
}

/// The certificates of a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidSettings> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| InvalidSettings::Certificate {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    match found.is_empty() {
        true => Err(InvalidSettings::NoCertificate(path.to_owned())),
        false => Ok(found),
    }
}

/// Believes the system's authorities and some more.
#[derive(Debug)]
struct Verifier {
    authorities: Arc<WebPkiServerVerifier>,
    /// What was configured, byte for byte.
    configured: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(files: &[PathBuf], provider: &Arc<CryptoProvider>) -> Result<Verifier, Error> {
        let mut roots = RootCertStore::empty();
        let mut configured = Vec::new();
        for path in files {
            for certificate in certificates(path)? {
                roots.add(certificate.clone()).map_err(|error| InvalidSettings::Certificate {
                    path: path.clone(),
                    problem: error.to_string(),
                })?;
                configured.push(certificate);
            }
        }
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            return Err(Error::Tls("this machine has no certificates of authorities".into()));
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .map_err(|error| Error::Tls(error.into()))?;
        Ok(Verifier { authorities, configured })
    }
}

/// Whether everything is right but that the certificate is an authority's own.
fn is_authority(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(source))) => {
            matches!(source.downcast_ref::<webpki::Error>(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.authorities.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verdict {
            // Its time is checked before what it may be used for.
            Err(error)
                if is_authority(&error) && self.configured.iter().any(|known| known == certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// What is wrong with a host's certificate, with Go's words; none if something else is wrong.
pub(crate) fn problem(error: &rustls::Error, host: &str) -> Option<String> {
    let rustls::Error::InvalidCertificate(problem) = error else { return None };
    Some(match problem {
        CertificateError::UnknownIssuer => UNKNOWN_AUTHORITY.to_owned(),
        _ if is_authority(error) => UNKNOWN_AUTHORITY.to_owned(),
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "x509: certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("x509: certificate is not valid for {host}")
        }
        other => format!("x509: {other}"),
    })
}

/// Verifies nobody.
#[derive(Debug)]
struct Nobody(Arc<CryptoProvider>);

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use rustls::server::WebPkiClientVerifier;
    use rustls::{ClientConnection, ServerConfig, ServerConnection};

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name)
    }

    /// A server that shows this certificate, and wants one of the client's if the client has one.
    fn server(name: &str, wants_client: bool) -> ServerConnection {
        let chain = certificates(&fixture(&format!("{name}.crt"))).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&read(&fixture(&format!("{name}.key"))).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match wants_client {
            false => builder.with_no_client_auth(),
            true => {
                let mut roots = RootCertStore::empty();
                roots.add(certificates(&fixture("ca.crt")).unwrap().remove(0)).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        ServerConnection::new(Arc::new(builder.with_single_cert(chain, key).unwrap())).unwrap()
    }

    /// Shakes hands and says something; what is wrong, if something is.
    fn talk(tls: &Tls, mut server: ServerConnection, host: &'static str) -> Result<(), String> {
        let config = Arc::new(config(tls).map_err(|error| error.to_string())?);
        let mut client = ClientConnection::new(config, host.try_into().unwrap()).unwrap();
        client.writer().write_all(b"hello").unwrap();
        let mut wire = Vec::new();
        for _ in 0..10 {
            wire.clear();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets().map_err(|error| format!("server: {error}"))?;
            }
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                let done = client.process_new_packets();
                done.map_err(|error| problem(&error, host).unwrap_or_else(|| error.to_string()))?;
            }
        }
        let mut heard = [0; 5];
        server.reader().read_exact(&mut heard).map_err(|error| error.to_string())?;
        assert_eq!(&heard, b"hello");
        Ok(())
    }

    fn trusting(names: &[&str]) -> Tls {
        Tls { authorities: names.iter().map(|name| fixture(name)).collect(), ..Tls::default() }
    }

    #[test]
    fn whose_certificates_are_believed() {
        let unknown = Err(UNKNOWN_AUTHORITY.to_owned());
        let expired = Err("x509: certificate has expired or is not yet valid".to_owned());
        let other_name = Err("x509: certificate is not valid for other.test".to_owned());
        for (trusted, shown, host, expected) in [
            (&["ca.crt"][..], "server", "reg.test", Ok(())),
            (&["self.crt", "ca.crt"], "server", "reg.test", Ok(())),
            (&["self.crt"], "server", "reg.test", unknown.clone()),
            (&["ca.crt"], "server", "other.test", other_name.clone()),
            (&["ca.crt"], "expired", "reg.test", expired),
            // One certificate that is authority and server, as tutorials make it.
            (&["self.crt"], "self", "reg.test", Ok(())),
            (&["self.crt"], "self", "other.test", other_name),
            (&["ca.crt"], "self", "reg.test", unknown),
        ] {
            assert_eq!(
                talk(&trusting(trusted), server(shown, false), host),
                expected,
                "{trusted:?} {shown} {host}"
            );
        }
        let nobody = Tls { unverified: true, ..Tls::default() };
        assert_eq!(talk(&nobody, server("expired", false), "other.test"), Ok(()));
    }

    #[test]
    fn a_certificate_of_ours_is_shown() {
        let identity = Some((fixture("client.cert"), fixture("client.key")));
        let tls = Tls { identity, ..trusting(&["ca.crt"]) };
        assert_eq!(talk(&tls, server("server", true), "reg.test"), Ok(()));
        let refused = talk(&trusting(&["ca.crt"]), server("server", true), "reg.test").unwrap_err();
        assert!(refused.contains("peer sent no certificates"), "{refused}");
    }

    #[test]
    fn files_that_are_no_certificates() {
        let error = |tls: &Tls| match config(tls).unwrap_err() {
            Error::Settings(error) => error.to_string(),
            other => panic!("{other}"),
        };
        assert!(error(&trusting(&["client.key"])).ends_with("client.key: no certificate in PEM format"));
        assert!(error(&trusting(&["none.crt"])).ends_with("none.crt"));
        let identity = Some((fixture("client.cert"), fixture("ca.crt")));
        assert!(
            error(&Tls { identity, ..trusting(&["ca.crt"]) })
                .ends_with("ca.crt: no private key in PEM format")
        );
        let identity = Some((fixture("client.cert"), fixture("server.key")));
        assert!(error(&Tls { identity, ..trusting(&["ca.crt"]) }).contains("client.cert: "));
    }
}

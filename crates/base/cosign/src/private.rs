//! Keys that sign, in the files of `cosign generate-key-pair`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{Key, KeyInit as _, Nonce, XSalsa20Poly1305};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use serde::{Deserialize, Serialize};

use crate::public::{Algorithm, PublicKey, trimmed};

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKey {
    /// Not PEM.
    #[error("not a PEM block: {0}")]
    Pem(String),
    /// PEM of something else.
    #[error("a PEM block {found:?} where {wanted:?} is needed")]
    Label { found: String, wanted: &'static str },
    /// Not the structure that the block's label promises.
    #[error("the key's structure is damaged: {0}")]
    Structure(String),
    /// A kind of key that is not served.
    #[error("keys of algorithm {0} are not supported: use ECDSA P-256, Ed25519 or RSA")]
    Algorithm(String),
    /// It is encrypted, and there is no password.
    #[error("the key is encrypted, and there is no password")]
    NoPassword,
    /// The password is wrong, or the file is damaged.
    #[error("the password is wrong, or the key is damaged")]
    Password,
    /// Its encryption is not cosign's.
    #[error("the key's encryption is not supported: {0}")]
    Encryption(String),
    /// No randomness, which never happens.
    #[error("the system gives no random bytes")]
    Random,
}

const ENCRYPTED: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
const PLAIN: &str = "PRIVATE KEY";
/// What cosign takes for its own keys.
const SCRYPT: Scrypt = Scrypt { n: 65_536, r: 8, p: 1 };
/// Bytes that deriving a key may need: a file may ask for any number.
const SCRYPT_MEMORY_MAX: u64 = 256 << 20;
/// Rounds that it may ask for.
const SCRYPT_ROUNDS_MAX: u32 = 16;

/// A private key.
pub struct PrivateKey {
    pair: Pair,
    pkcs8: Vec<u8>,
}

enum Pair {
    P256(Box<EcdsaKeyPair>),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// The document in an encrypted block (go-securesystemslib's `encrypted`).
#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Derivation {
    name: String,
    params: Scrypt,
    salt: String,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
struct Scrypt {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl PrivateKey {
    /// A new ECDSA key over P-256, as cosign makes them.
    pub fn generate() -> Result<PrivateKey, InvalidKey> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        PrivateKey::from_pkcs8(made.map_err(|_| InvalidKey::Random)?.as_ref())
    }

    /// Reads a PEM block, encrypted as cosign does, or PKCS#8 as it is. `password` is asked only for an encrypted one.
    pub fn from_pem(
        pem: &[u8],
        password: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<PrivateKey, InvalidKey> {
        let (label, content) =
            pem_rfc7468::decode_vec(trimmed(pem)).map_err(|e| InvalidKey::Pem(e.to_string()))?;
        match label {
            PLAIN => PrivateKey::from_pkcs8(&content),
            label if ENCRYPTED.contains(&label) => {
                let password = password().ok_or(InvalidKey::NoPassword)?;
                PrivateKey::from_pkcs8(&open(&content, &password)?)
            }
            other => Err(InvalidKey::Label { found: other.to_owned(), wanted: ENCRYPTED[0] }),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, InvalidKey> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random)
            .map(|pair| Pair::P256(Box::new(pair)))
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519))
            .or_else(|_| RsaKeyPair::from_pkcs8(der).map(|pair| Pair::Rsa(Box::new(pair))))
            .map_err(|why| InvalidKey::Algorithm(format!("of this file ({why})")))?;
        Ok(PrivateKey { pair, pkcs8: der.to_vec() })
    }

    /// The PEM block, encrypted with a password.
    pub fn to_encrypted_pem(&self, password: &[u8]) -> Result<String, InvalidKey> {
        let sealed = seal(&self.pkcs8, password)?;
        pem_rfc7468::encode_string(ENCRYPTED[0], pem_rfc7468::LineEnding::LF, &sealed)
            .map_err(|e| InvalidKey::Pem(e.to_string()))
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> PublicKey {
        let (algorithm, bytes) = match &self.pair {
            Pair::P256(pair) => (Algorithm::P256, pair.public_key().as_ref()),
            Pair::Ed25519(pair) => (Algorithm::Ed25519, pair.public_key().as_ref()),
            Pair::Rsa(pair) => (Algorithm::Rsa, pair.public_key().as_ref()),
        };
        PublicKey::new(algorithm, bytes.to_vec())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, InvalidKey> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::P256(pair) => {
                let signed = pair.sign(&random, message);
                signed.map(|signature| signature.as_ref().to_vec()).map_err(|_| InvalidKey::Random)
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signed = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signed)
                    .map_err(|_| InvalidKey::Random)?;
                Ok(signed)
            }
        }
    }
}

fn derive(password: &[u8], salt: &[u8], params: Scrypt) -> Result<[u8; 32], InvalidKey> {
    let unfit = |why: &str| InvalidKey::Encryption(format!("scrypt {why}"));
    let memory = params.n.checked_mul(128).and_then(|bytes| bytes.checked_mul(u64::from(params.r)));
    if !params.n.is_power_of_two() || memory.is_none_or(|bytes| bytes > SCRYPT_MEMORY_MAX) {
        return Err(unfit("with more than 256 MiB of memory"));
    }
    if params.p > SCRYPT_ROUNDS_MAX {
        return Err(unfit("with that many rounds"));
    }
    let log_n = u8::try_from(params.n.ilog2()).map_err(|_| unfit("parameters"))?;
    let parameters = scrypt::Params::new(log_n, params.r, params.p).map_err(|_| unfit("parameters"))?;
    let mut key = [0; 32];
    scrypt::scrypt(password, salt, &parameters, &mut key).map_err(|_| unfit("output"))?;
    Ok(key)
}

fn open(document: &[u8], password: &[u8]) -> Result<Vec<u8>, InvalidKey> {
    let sealed: Sealed =
        serde_json::from_slice(document).map_err(|e| InvalidKey::Structure(e.to_string()))?;
    if (sealed.kdf.name.as_str(), sealed.cipher.name.as_str()) != ("scrypt", "nacl/secretbox") {
        return Err(InvalidKey::Encryption(format!("{} with {}", sealed.kdf.name, sealed.cipher.name)));
    }
    let bytes = |text: &str| STANDARD.decode(text).map_err(|e| InvalidKey::Structure(e.to_string()));
    let key = derive(password, &bytes(&sealed.kdf.salt)?, sealed.kdf.params)?;
    let nonce: [u8; 24] = bytes(&sealed.cipher.nonce)?
        .try_into()
        .map_err(|_| InvalidKey::Structure("the nonce has not 24 bytes".to_owned()))?;
    let cipher = XSalsa20Poly1305::new(Key::from_slice(&key));
    cipher.decrypt(Nonce::from_slice(&nonce), &*bytes(&sealed.ciphertext)?).map_err(|_| InvalidKey::Password)
}

fn seal(content: &[u8], password: &[u8]) -> Result<Vec<u8>, InvalidKey> {
    let (mut salt, mut nonce) = ([0; 32], [0; 24]);
    let random = SystemRandom::new();
    random.fill(&mut salt).and_then(|()| random.fill(&mut nonce)).map_err(|_| InvalidKey::Random)?;
    let key = derive(password, &salt, SCRYPT)?;
    let cipher = XSalsa20Poly1305::new(Key::from_slice(&key));
    let ciphertext = cipher.encrypt(Nonce::from_slice(&nonce), content).map_err(|_| InvalidKey::Password)?;
    let sealed = Sealed {
        kdf: Derivation { name: "scrypt".to_owned(), params: SCRYPT, salt: STANDARD.encode(salt) },
        cipher: Cipher { name: "nacl/secretbox".to_owned(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    };
    serde_json::to_vec(&sealed).map_err(|e| InvalidKey::Structure(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_with_its_password_alone() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.to_encrypted_pem(b"secret").unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), "{pem}");
        let back = PrivateKey::from_pem(pem.as_bytes(), || Some(b"secret".to_vec())).unwrap();
        assert_eq!(back.public(), key.public());
        let wrong = PrivateKey::from_pem(pem.as_bytes(), || Some(b"other".to_vec()));
        assert!(matches!(wrong, Err(InvalidKey::Password)));
        assert!(matches!(PrivateKey::from_pem(pem.as_bytes(), || None), Err(InvalidKey::NoPassword)));
        let public = key.public().to_pem().unwrap();
        assert_eq!(PublicKey::from_pem(public.as_bytes()).unwrap(), key.public());
        assert!(key.public().verifies(b"message", &key.sign(b"message").unwrap()));
    }

    #[test]
    fn a_file_does_not_decide_how_much_memory_is_taken() {
        for params in
            [(1 << 30, 8, 1), (65_536, 1 << 20, 1), (65_536, 8, 1 << 20), (3, 8, 1), (u64::MAX, 8, 1)]
        {
            let (n, r, p) = params;
            assert!(derive(b"", b"", Scrypt { n, r, p }).is_err(), "{params:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_told() {
        let of = |text: &str| PrivateKey::from_pem(text.as_bytes(), || None).err().unwrap().to_string();
        assert!(of("hello").starts_with("not a PEM block"));
        let public = PrivateKey::generate().unwrap().public().to_pem().unwrap();
        assert!(of(&public).contains("a PEM block \"PUBLIC KEY\" where"));
        assert!(
            PublicKey::from_pem(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").is_err()
        );
    }
}

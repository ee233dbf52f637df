//! Digests, encodings and identities.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Digest as _;
use num_bigint::BigUint;
use uuid::Uuid;

use super::{Arguments, Failure, Outcome};
use crate::value::Value;

pub fn base64decode(a: &Arguments<'_>) -> Outcome {
    let text: String = a.text(0).chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = STANDARD.decode(text).map_err(|_| format!("failed to decode base64 data '{}'", a.text(0)))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(_) => Err("the result of decoding the the provided string is not valid UTF-8".into()),
    }
}

pub fn base64encode(a: &Arguments<'_>) -> Outcome {
    Ok(STANDARD.encode(a.text(0)).into())
}

pub fn md5(a: &Arguments<'_>) -> Outcome {
    Ok(hex::encode(md5::Md5::digest(a.text(0))).into())
}

pub fn sha1(a: &Arguments<'_>) -> Outcome {
    Ok(hex::encode(sha1::Sha1::digest(a.text(0))).into())
}

pub fn sha256(a: &Arguments<'_>) -> Outcome {
    Ok(hex::encode(sha2::Sha256::digest(a.text(0))).into())
}

pub fn sha512(a: &Arguments<'_>) -> Outcome {
    Ok(hex::encode(sha2::Sha512::digest(a.text(0))).into())
}

pub fn bcrypt(a: &Arguments<'_>) -> Outcome {
    if a.values.len() > 2 {
        return Err("bcrypt() takes no more than two arguments".into());
    }
    let wrong = |why: String| Failure::from(format!("error occured generating password {why}"));
    let cost = if a.values.len() > 1 { a.whole(1)? } else { 10 };
    if a.text(0).len() > 72 {
        return Err(wrong("bcrypt: password length exceeds 72 bytes".to_owned()));
    }
    let cost = match cost {
        ..4 => 10,
        4..=31 => cost as u32,
        _ => {
            return Err(wrong(format!(
                "crypto/bcrypt: cost {cost} is outside allowed inclusive range 4..31"
            )));
        }
    };
    let salt = Uuid::new_v4().into_bytes();
    let parts = bcrypt::hash_with_salt(a.text(0), cost, salt).map_err(|error| wrong(error.to_string()))?;
    Ok(parts.format_for_version(bcrypt::Version::TwoA).into())
}

pub fn uuidv4(_: &Arguments<'_>) -> Outcome {
    Ok(Uuid::new_v4().to_string().into())
}

pub fn uuidv5(a: &Arguments<'_>) -> Outcome {
    let namespace = match a.text(0) {
        "dns" => Uuid::NAMESPACE_DNS,
        "url" => Uuid::NAMESPACE_URL,
        "oid" => Uuid::NAMESPACE_OID,
        "x500" => Uuid::NAMESPACE_X500,
        other => Uuid::parse_str(other).map_err(|_| {
            let why = match other.len() {
                32 | 36 | 38 | 45 => "invalid UUID format".to_owned(),
                length => format!("invalid UUID length: {length}"),
            };
            format!("uuidv5() doesn't support namespace {other} ({why})")
        })?,
    };
    Ok(Uuid::new_v5(&namespace, a.text(1).as_bytes()).to_string().into())
}

/// PKCS #1 v1.5 with a key in PEM. The key is in the file of whoever asks: no time is measured by strangers here.
pub fn rsadecrypt(a: &Arguments<'_>) -> Outcome {
    let cipher = STANDARD
        .decode(a.text(0))
        .map_err(|_| format!("failed to decode input {:?}: cipher text must be base64-encoded", a.text(0)))?;
    let (modulus, exponent) = private_key(a.text(1))?;
    let failed = || Failure::from("crypto/rsa: decryption error");
    let size = modulus.bits().div_ceil(8) as usize;
    let number = BigUint::from_bytes_be(&cipher);
    if cipher.len() != size || size > 2048 || number >= modulus {
        return Err(failed());
    }
    let plain = number.modpow(&exponent, &modulus).to_bytes_be();
    // 0 2, at least eight bytes that are not 0, 0, the text; the first 0 is lost in the number.
    let padding = plain.iter().position(|byte| *byte == 0).unwrap_or(0);
    match plain.first() {
        Some(2) if padding > 8 && plain.len() + 1 == size => {
            let text = String::from_utf8(plain[padding + 1..].to_vec()).map_err(|_| failed())?;
            Ok(Value::String(text))
        }
        _ => Err(failed()),
    }
}

/// The modulus and the private exponent.
fn private_key(pem: &str) -> Result<(BigUint, BigUint), Failure> {
    let none = || Failure::from("failed to parse key: no key found");
    let (_, body) = pem.split_once("-----BEGIN ").ok_or_else(none)?;
    let (_, body) = body.split_once("-----").ok_or_else(none)?;
    let (body, _) = body.split_once("-----END ").ok_or_else(none)?;
    if body.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("failed to parse key: password protected keys are not supported. Please decrypt the key prior to use"
            .into());
    }
    let text: String = body.split_whitespace().collect();
    let der = STANDARD.decode(text).map_err(|_| none())?;
    let broken = || Failure::from("x509: failed to parse private key");
    let (inside, _) = element(&der, 0x30).ok_or_else(broken)?;
    let (_version, rest) = element(inside, 2).ok_or_else(broken)?;
    let (modulus, rest) = element(rest, 2).ok_or_else(broken)?;
    let (_public, rest) = element(rest, 2).ok_or_else(broken)?;
    let (exponent, _) = element(rest, 2).ok_or_else(broken)?;
    let modulus = BigUint::from_bytes_be(modulus);
    if modulus.bits() < 512 {
        return Err(broken());
    }
    Ok((modulus, BigUint::from_bytes_be(exponent)))
}

/// The content of the element of DER that comes first, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}

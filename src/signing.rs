//! Signatures under statements: Ed25519 (RFC 8032) over bytes that are enveloped as DSSE 1.0 has it.
//!
//! What is signed are bytes as they are kept, never a message that would have to be encoded again to be checked.

use std::{fmt, fmt::Write as _, str::FromStr};

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest, Sha256};

/// Type of the payload of a signed statement: a `StatementRecord` as canonical protobuf JSON.
pub const STATEMENT_TYPE: &str = "application/vnd.lancang.v1.StatementRecord+json";

/// Bytes that a key pair is made from.
pub const SEED_BYTES: usize = 32;

/// A private key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl SigningKey {
    /// The key that is made from a seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        Self {
            pair: pair.expect("only seeds of another length are refused"),
        }
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        // Both have 32 bytes by RFC 8032.
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(key)
    }

    /// The signature of a payload of this type.
    #[must_use]
    pub fn sign(&self, payload_type: &str, payload: &[u8]) -> Vec<u8> {
        let enveloped = enveloped(payload_type, payload);
        self.pair.sign(&enveloped).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    /// Tells the public key only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public()).finish()
    }
}

impl PublicKey {
    /// A short name: the first 16 hexadecimal digits of its SHA-256.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&Sha256::digest(self.0)[..8])
    }

    /// Whether its private key signed this payload as of this type.
    #[must_use]
    pub fn has_signed(&self, payload_type: &str, payload: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(&enveloped(payload_type, payload), signature)
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_hex(text)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no public key, which is 64 hexadecimal digits"))
    }
}

/// The bytes that are signed: `DSSEv1`, length and text of the type, length and bytes of the payload.
fn enveloped(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// 32 bytes from 64 hexadecimal digits.
#[must_use]
pub fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |letter: u8| {
        let value = char::from(letter).to_digit(16)?;
        u8::try_from(value).ok()
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; SEED_BYTES])
    }

    #[test]
    fn the_key_of_rfc_8032_is_made_from_its_seed() {
        // Section 7.1, test 1.
        let seed =
            parse_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let public = SigningKey::from_seed(&seed).public();
        assert_eq!(
            public.to_string(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert_eq!(public.to_string().parse(), Ok(public));
        assert_eq!(public.id().len(), 16);
    }

    #[test]
    fn what_is_signed_is_enveloped_as_dsse_says() {
        // The example of the specification of DSSE, section "Protocol".
        let bytes = enveloped("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            bytes,
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn any_flipped_bit_another_type_and_another_key_are_noticed() {
        let (key, other) = (key(1), key(2));
        let payload = b"{\"energy\":\"1\"}".to_vec();
        let signature = key.sign("t", &payload);
        let public = key.public();
        assert!(public.has_signed("t", &payload, &signature));
        assert!(!public.has_signed("u", &payload, &signature));
        assert!(!other.public().has_signed("t", &payload, &signature));
        for bit in 0..payload.len() * 8 {
            let mut changed = payload.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!public.has_signed("t", &changed, &signature), "bit {bit}");
        }
        for bit in 0..signature.len() * 8 {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!public.has_signed("t", &payload, &changed), "bit {bit}");
        }
        assert!(!public.has_signed("t", &payload, &signature[1..]));
    }

    #[test]
    fn only_64_hexadecimal_digits_are_a_key() {
        let good = "0f".repeat(32);
        assert!(good.parse::<PublicKey>().is_ok());
        for wrong in ["", "0f", &"0g".repeat(32), &good[1..], &format!("{good}0")] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
        assert!("é".repeat(32).parse::<PublicKey>().is_err());
    }

    #[test]
    fn a_private_key_is_never_printed() {
        let text = format!("{:?}", key(7));
        assert!(
            !text.contains(&hex(&[7; 32])) && !text.contains("7, 7, 7"),
            "{text}"
        );
    }
}

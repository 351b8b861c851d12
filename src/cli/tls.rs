//! Flags by which a command speaks to a server that encrypts.
//!
//! A server is trusted by the authority that is named, never by those that the machine knows.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::cli::failure::Failure;

/// Flags of everything that connects to a server.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TlsArgs {
    /// Authority of the server's certificate, PEM; needed for https.
    #[arg(long, global = true, env = "LANCANG_CLIENT_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Certificate to show to the server, PEM, followed by those between it and its authority.
    #[arg(
        long,
        global = true,
        env = "LANCANG_CLIENT_CERTIFICATE",
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_certificate: Option<PathBuf>,
    /// Private key of that certificate, PEM.
    #[arg(
        long,
        global = true,
        env = "LANCANG_CLIENT_KEY",
        value_name = "FILE",
        requires = "tls_certificate"
    )]
    tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// The address of a server with what it takes to trust it and to be trusted.
    pub(crate) fn endpoint(&self, server: &str) -> Result<Endpoint, Failure> {
        let usage = |message: String| Failure::Usage(message);
        let endpoint = Endpoint::from_shared(server.to_owned()).map_err(|_| {
            usage(format!(
                "`{server}` is no address, e.g. http://127.0.0.1:50051"
            ))
        })?;
        let config = match (endpoint.uri().scheme_str(), &self.tls_ca) {
            (Some("https"), Some(ca)) => {
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?))
            }
            (Some("https"), None) => {
                return Err(usage(
                    "https needs the authority of the server's certificate: --tls-ca FILE"
                        .to_owned(),
                ));
            }
            (Some("http"), None) if self.tls_certificate.is_none() => return Ok(endpoint),
            (Some("http"), _) => {
                return Err(usage(format!(
                    "`{server}` is not encrypted, so certificates are of no use there; write https"
                )));
            }
            (_, _) => {
                return Err(usage(format!(
                    "`{server}` begins with neither http:// nor https://"
                )));
            }
        };
        let config = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                config.identity(Identity::from_pem(read(certificate)?, read(key)?))
            }
            (_, _) => config,
        };
        endpoint
            .tls_config(config)
            .map_err(|error| usage(format!("the certificates cannot be used: {error}")))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|source| Failure::File {
        action: "read",
        path: file.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_can_be_dialled_pass() {
        let bare = TlsArgs::default();
        assert!(bare.endpoint("http://127.0.0.1:1").is_ok());
        let wrong = [
            "",
            "not a url",
            "127.0.0.1:1",
            "ftp://a.example",
            "https://a.example",
        ];
        for server in wrong {
            assert_eq!(bare.endpoint(server).unwrap_err().exit(), 64, "{server}");
        }
    }

    #[test]
    fn certificates_are_not_sent_without_encryption() {
        let args = TlsArgs {
            tls_ca: Some("ca.pem".into()),
            ..TlsArgs::default()
        };
        assert_eq!(args.endpoint("http://a.example").unwrap_err().exit(), 64);
    }
}

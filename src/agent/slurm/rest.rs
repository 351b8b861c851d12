//! slurmrestd over its unix socket: one connection, one request at a time, everything bounded in time and size.
//!
//! Whoever reaches the socket acts as the user of slurmrestd; it must lie where only the agent's user comes.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time};

use crate::limits;

/// Versions of the API that are spoken, the newest first.
const VERSIONS: [&str; 3] = ["v0.0.38", "v0.0.37", "v0.0.36"];

/// Longest wait for an answer. slurmrestd itself gives up on its controller after some 10 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the socket is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// There is no directory that it could be in.
    #[error("cannot find {}, where the socket of slurmrestd should be", .0.display())]
    Absent(PathBuf, #[source] std::io::Error),
    /// It is something else.
    #[error("{} is not the absolute path of a socket", .0.display())]
    NoSocket(PathBuf),
    /// Others get at it.
    #[error(
        "others than the agent's user (number {user}) reach {}, and would act as it in Slurm: put the socket into a directory of that user with mode 0700", dir.display()
    )]
    Open {
        /// The directory of the socket.
        dir: PathBuf,
        /// The agent's user.
        user: u32,
    },
    /// slurmrestd runs as somebody else.
    #[error(
        "slurmrestd at {} runs as the user with number {found} and the agent as {user}: jobs would not be the agent's", socket.display()
    )]
    OtherUser {
        /// The socket.
        socket: PathBuf,
        /// Whose it is.
        found: u32,
        /// The agent's user.
        user: u32,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("cannot connect to slurmrestd")]
    Connect(#[source] std::io::Error),
    #[error("slurmrestd broke off")]
    Http(#[from] hyper::Error),
    #[error("the answer of slurmrestd cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a name is none that an address can hold")]
    Path,
    #[error("slurmrestd does not answer")]
    TimedOut,
    #[error("slurmrestd speaks none of v0.0.38, v0.0.37, v0.0.36")]
    NoVersion,
}

/// An answer: its status and its body.
pub(super) type Answer = (StatusCode, Bytes);

/// The way to slurmrestd.
#[derive(Debug)]
pub(super) struct Rest {
    socket: PathBuf,
    version: Option<&'static str>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Checks that only the agent's user, given by its number, can talk to the socket. It may be absent: slurmrestd may start later.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(socket: &Path, user: u32) -> Result<(), SocketError> {
    let no_socket = || SocketError::NoSocket(socket.to_path_buf());
    let dir = socket.parent().filter(|_| socket.is_absolute());
    let dir = dir.ok_or_else(no_socket)?;
    let around = fs::metadata(dir).map_err(|error| SocketError::Absent(dir.into(), error))?;
    if around.uid() != user || around.mode() & 0o077 != 0 {
        let dir = dir.to_path_buf();
        return Err(SocketError::Open { dir, user });
    }
    let Ok(meta) = fs::metadata(socket) else {
        return Ok(());
    };
    if !meta.file_type().is_socket() {
        return Err(no_socket());
    }
    if meta.uid() != user {
        return Err(SocketError::OtherUser {
            socket: socket.to_path_buf(),
            found: meta.uid(),
            user,
        });
    }
    Ok(())
}

impl Rest {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            version: None,
            connection: None,
        }
    }

    /// Asks for something below `/slurm/VERSION`.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer, RestError> {
        let version = match self.version {
            Some(version) => version,
            None => self.negotiate().await?,
        };
        let path = format!("/slurm/{version}{path}");
        self.send(method, &path, body.into()).await
    }

    /// Finds the newest version that both sides speak.
    async fn negotiate(&mut self) -> Result<&'static str, RestError> {
        for version in VERSIONS {
            let path = format!("/slurm/{version}/ping");
            let (status, _) = self.send(Method::GET, &path, Bytes::new()).await?;
            if status != StatusCode::NOT_FOUND {
                tracing::info!(version, "slurmrestd answers");
                self.version = Some(version);
                return Ok(version);
            }
        }
        Err(RestError::NoVersion)
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Answer, RestError> {
        // A connection that failed in any way is not used again: an answer could be that of an earlier request.
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await?,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| RestError::Path)?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, header::HeaderValue::from_static("localhost"));
        let json = header::HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let answer = async {
            connection.ready().await?;
            let (head, body) = connection.send_request(request).await?.into_parts();
            let body = Limited::new(body, limits::SLURM_ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(RestError::Body)?;
            Ok::<Answer, RestError>((head.status, body.to_bytes()))
        };
        let answer = time::timeout(PATIENCE, answer)
            .await
            .map_err(|_late| RestError::TimedOut)??;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, RestError> {
        check(&self.socket, rustix::process::geteuid().as_raw())?;
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(RestError::Connect)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // Its end is seen by whoever sends.
        tokio::spawn(driver);
        Ok(connection)
    }
}

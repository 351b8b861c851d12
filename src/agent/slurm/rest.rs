//! slurmrestd over its unix socket: one connection, one request at a time, everything bounded in time and size.
//!
//! Whoever reaches the socket acts as the user of slurmrestd; it must lie where only the agent's user comes.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
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
    #[error(
        "an answer of slurmrestd has more than {} MiB: Slurm has more jobs than the agent reads; a smaller MinJobAge in slurm.conf makes the list shorter", limits::SLURM_ANSWER_BYTES_MAX >> 20
    )]
    TooLong,
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
        let body = Bytes::from(body);
        if let Some(version) = self.version {
            let path = format!("/slurm/{version}{path}");
            let answer = self.send(method.clone(), &path, body.clone()).await?;
            if answer.0 != StatusCode::NOT_FOUND {
                return Ok(answer);
            }
            // Another slurmrestd may have taken its place.
            self.version = None;
        }
        let version = self.negotiate().await?;
        let path = format!("/slurm/{version}{path}");
        self.send(method, &path, body).await
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
            let body =
                body.collect()
                    .await
                    .map_err(|error| match error.is::<LengthLimitError>() {
                        true => RestError::TooLong,
                        false => RestError::Body(error),
                    })?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
    };

    use super::*;
    use crate::agent::slurm::answers;

    const KEY: &str = "019a0000-0000-7000-8000-00000000000a.1.1";

    /// A list of so many bytes with a job of ours at its end, behind those of others as long as slurmrestd makes them.
    fn list(bytes: usize) -> (String, usize) {
        let other = format!(
            "{{\"job_id\":1,\"name\":\"x\",\"comment\":\"{}\"}},",
            "x".repeat(3_200)
        );
        let ours = format!(
            "{{\"job_id\":7,\"name\":\"lancang-{KEY}\",\"comment\":\"lancang i {KEY}\",\"job_state\":\"RUNNING\"}}]}}"
        );
        let head = "{\"jobs\":[";
        let n_others = (bytes - head.len() - ours.len()) / other.len();
        let mut list = head.to_owned() + &other.repeat(n_others);
        list += &" ".repeat(bytes - list.len() - ours.len());
        list += &ours;
        (list, n_others)
    }

    /// Asks a socket that answers every request after the first, which asks for the version, with this body.
    async fn asked(body: String) -> Result<Answer, RestError> {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let socket = dir.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            for body in ["", &body] {
                let _request = stream.read(&mut request).await;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await.unwrap();
                // Whoever has enough breaks off.
                let _broken = stream.write_all(body.as_bytes()).await;
            }
        });
        let mut rest = Rest::new(socket);
        rest.call(Method::GET, "/jobs", Vec::new()).await
    }

    #[tokio::test]
    async fn a_list_of_forty_thousand_jobs_is_read_and_a_longer_one_is_named() {
        let (longest, n_others) = list(limits::SLURM_ANSWER_BYTES_MAX);
        assert!(40_000 < n_others);
        let (status, body) = asked(longest).await.unwrap();
        assert_eq!(
            (status, body.len()),
            (StatusCode::OK, limits::SLURM_ANSWER_BYTES_MAX)
        );
        let jobs = answers::jobs(&body, "i").unwrap();
        let ids: Vec<u32> = jobs.iter().map(|job| job.id).collect();
        assert_eq!(ids, [7]);
        drop(body);
        let (longer, _) = list(limits::SLURM_ANSWER_BYTES_MAX + 1);
        let error = asked(longer).await.unwrap_err();
        assert!(matches!(error, RestError::TooLong), "{error}");
        assert!(error.to_string().contains("more than 128 MiB"), "{error}");
    }
}

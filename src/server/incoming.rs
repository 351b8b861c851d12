//! Connections as they come: so many at once, each with a time limit for its first bytes.
//!
//! Who is above the bound waits to be accepted, and who says nothing is let go, so that file descriptors do not run out.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_stream::Stream;
use tokio_util::sync::PollSemaphore;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::limits;

/// Length of the HTTP/2 client preface in bytes.
const PREFACE_BYTES: usize = 24;

/// Accepts connections. A failed accept (no file descriptors left) is followed by a pause, not by a busy loop.
pub(super) struct Incoming {
    listener: TcpListener,
    places: PollSemaphore,
    /// The place of the next connection.
    place: Option<OwnedSemaphorePermit>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// A connection, counted as long as it is open.
pub(super) struct Connection {
    stream: TcpStream,
    preface: Option<Preface>,
    _place: OwnedSemaphorePermit,
}

/// A preface that is not there yet.
struct Preface {
    missing: usize,
    patience: Pin<Box<Sleep>>,
}

impl Incoming {
    /// Accepts at most so many connections at once.
    pub(super) fn new(listener: TcpListener, connections_max: usize) -> Self {
        Self {
            listener,
            places: PollSemaphore::new(Arc::new(Semaphore::new(connections_max))),
            place: None,
            pause: None,
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        const PAUSE: Duration = Duration::from_millis(50);
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if self.place.is_none() {
                // The semaphore is never closed.
                self.place = ready!(self.places.poll_acquire(cx));
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) => {
                    if stream.set_nodelay(true).is_ok()
                        && let Some(place) = self.place.take()
                    {
                        return Poll::Ready(Some(Ok(Connection::new(stream, place))));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        let patience = Duration::from_secs(limits::PREFACE_SECONDS_MAX);
        let preface = Preface {
            missing: PREFACE_BYTES,
            patience: Box::pin(sleep(patience)),
        };
        Self {
            stream,
            preface: Some(preface),
            _place: place,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Some(preface) = &mut self.preface else {
            return read;
        };
        if read.is_pending() {
            ready!(preface.patience.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let n_read = buf.filled().len() - before;
        preface.missing = preface.missing.saturating_sub(n_read);
        if preface.missing == 0 {
            self.preface = None;
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::{Instant, timeout},
    };
    use tokio_stream::StreamExt;

    use super::*;

    async fn listen(connections_max: usize) -> (Incoming, std::net::SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (Incoming::new(listener, connections_max), address)
    }

    #[tokio::test]
    async fn a_connection_above_the_bound_waits_for_another_to_close() {
        let (mut incoming, address) = listen(1).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let second = TcpStream::connect(address).await.unwrap();
        let accepted = incoming.next().await.unwrap().unwrap();
        let early = timeout(Duration::from_millis(20), incoming.next()).await;
        assert!(early.is_err());
        drop(accepted);
        let accepted = incoming.next().await.unwrap().unwrap();
        let info = accepted.connect_info();
        assert_eq!(info.remote_addr, Some(second.local_addr().unwrap()));
    }

    #[tokio::test]
    async fn a_connection_without_a_whole_preface_is_let_go_in_time() {
        let (mut incoming, address) = listen(2).await;
        let limit = Duration::from_secs(limits::PREFACE_SECONDS_MAX);
        for (sent, is_let_go) in [(0, true), (PREFACE_BYTES - 1, true), (PREFACE_BYTES, false)] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let mut connection = incoming.next().await.unwrap().unwrap();
            client.write_all(&vec![b'x'; sent]).await.unwrap();
            let mut got = vec![0; sent];
            connection.read_exact(&mut got).await.unwrap();
            tokio::time::pause();
            let begun = Instant::now();
            let more = timeout(limit * 2, connection.read_u8()).await;
            match more {
                Ok(read) => assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut),
                Err(_) => assert!(!is_let_go, "{sent}"),
            }
            // A timer may be late by a millisecond.
            assert_eq!(begun.elapsed() < limit * 2, is_let_go, "{sent}");
            tokio::time::resume();
        }
    }
}

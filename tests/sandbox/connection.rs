//! Connections that can be cut from the inside. A fault may want a connection to end without an answer, and a sandbox that
//! is dropped must take its open connections with it; HTTP libraries offer neither, so the cut is made in the stream below.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A listener whose connections end when `open` is cancelled.
pub struct Door {
    pub listener: TcpListener,
    pub open: CancellationToken,
}

/// A handler's hold on the connection its request came by.
#[derive(Clone, Debug)]
pub struct Link(CancellationToken);

impl Link {
    /// Ends the connection: nothing written from now on reaches the client.
    pub fn cut(&self) {
        self.0.cancel();
    }
}

impl Listener for Door {
    type Io = Wire;
    type Addr = Link;

    async fn accept(&mut self) -> (Wire, Link) {
        loop {
            if let Ok((stream, _)) = self.listener.accept().await {
                let _ = stream.set_nodelay(true);
                let cut = self.open.child_token();
                return (Wire { stream, cut: Box::pin(cut.clone().cancelled_owned()), token: cut.clone() }, Link(cut));
            }
            // Out of file descriptors, most likely.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn local_addr(&self) -> io::Result<Link> {
        Ok(Link(self.open.clone()))
    }
}

impl Connected<IncomingStream<'_, Door>> for Link {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A TCP stream that breaks once its token is cancelled.
pub struct Wire {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    token: CancellationToken,
}

impl Wire {
    fn broken(&self) -> io::Result<()> {
        if self.token.is_cancelled() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.broken()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

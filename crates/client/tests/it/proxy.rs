//! A proxy that cuts each connection after a number of bytes, another number each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A proxy in front of a server. It ends with the runtime.
pub(crate) struct Proxy {
    port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(listener, server_port, Arc::clone(&cuts)));
        Self { port, cuts }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many connections were cut.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, server_port: u16, cuts: Arc<AtomicUsize>) {
    // A message must get through some day, however large, so the budget grows.
    // Multiples of a prime let the cuts fall into all parts of frames.
    for budget in (1..).map(|n: usize| n * 4_000 + n * 7919 % 10_000) {
        let Ok((client, _)) = listener.accept().await else { return };
        let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)).await else { continue };
        let cuts = Arc::clone(&cuts);
        tokio::spawn(async move {
            carry(client, server, budget).await;
            cuts.fetch_add(1, Ordering::Relaxed);
        });
    }
}

/// Carries bytes both ways until an end closes, or the server has said more than the budget.
async fn carry(mut client: TcpStream, mut server: TcpStream, mut budget: usize) {
    let (mut questions, mut answers) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            read = client.read(&mut questions) => match read {
                Ok(length @ 1..) => {
                    if server.write_all(&questions[..length]).await.is_err() {
                        return;
                    }
                }
                Ok(0) | Err(_) => return,
            },
            read = server.read(&mut answers) => match read {
                Ok(length @ 1..) => {
                    let length = length.min(budget);
                    budget -= length;
                    if client.write_all(&answers[..length]).await.is_err() || budget == 0 {
                        return;
                    }
                }
                Ok(0) | Err(_) => return,
            },
        }
    }
}

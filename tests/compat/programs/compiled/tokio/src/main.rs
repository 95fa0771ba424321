//! Tokio at both ends: an echo server and clients at once: `echo serve|ask|hold HOST PORT`.
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Result = std::io::Result<()>;

fn body(number: usize) -> Vec<u8> {
    format!("{number};").repeat(20000 + number * 50).into_bytes()
}

async fn echo(mut stream: TcpStream) -> Result {
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

async fn serve(address: String) -> Result {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream));
    }
}

async fn exchange(address: String, number: usize) -> Result {
    let (mut from, mut to) = TcpStream::connect(address).await?.into_split();
    let writer = tokio::spawn(async move {
        to.write_all(&body(number)).await?;
        to.shutdown().await
    });
    let mut got = Vec::new();
    from.read_to_end(&mut got).await?;
    writer.await??;
    assert!(got == body(number), "connection {number}: {} bytes are wrong", got.len());
    Ok(())
}

async fn ask(address: String) -> Result {
    for round in 0..3 {
        let running: Vec<_> =
            (0..30).map(|number| tokio::spawn(exchange(address.clone(), round * 100 + number))).collect();
        for each in running {
            tokio::time::timeout(Duration::from_secs(8), each).await.expect("a connection is stuck")??;
        }
    }
    println!("all right");
    Ok(())
}

async fn hold(address: String) -> Result {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"x").await?;
    stream.read_exact(&mut [0]).await?;
    println!("held");
    stream.read(&mut [0]).await.map(|_| ())
}

fn main() -> Result {
    let words: Vec<String> = std::env::args().collect();
    let address = format!("{}:{}", words[2], words[3]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match words[1].as_str() {
        "serve" => runtime.block_on(serve(address)),
        "hold" => runtime.block_on(hold(address)),
        _ => runtime.block_on(ask(address)),
    }
}

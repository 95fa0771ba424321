//! Rust's own sockets with a thread for each direction: `threads serve|ask|hold HOST PORT`.
use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

fn body(number: usize) -> Vec<u8> {
    format!("{number};").repeat(40000 + number * 50).into_bytes()
}

fn echo(mut stream: TcpStream) -> Result<()> {
    let mut to = stream.try_clone()?;
    std::io::copy(&mut stream, &mut to)?;
    to.shutdown(Shutdown::Write)
}

fn serve(address: &str) -> Result<()> {
    for stream in TcpListener::bind(address)?.incoming() {
        let stream = stream?;
        thread::spawn(move || echo(stream));
    }
    Ok(())
}

fn exchange(address: &str, number: usize) -> Result<()> {
    let mut from = TcpStream::connect(address)?;
    from.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut to = from.try_clone()?;
    let writer = thread::spawn(move || {
        to.write_all(&body(number))?;
        to.shutdown(Shutdown::Write)
    });
    let mut got = Vec::new();
    from.read_to_end(&mut got)?;
    writer.join().expect("the writer ended badly")?;
    assert!(got == body(number), "connection {number}: {} bytes are wrong", got.len());
    Ok(())
}

fn ask(address: &str) -> Result<()> {
    for round in 0..4 {
        thread::scope(|scope| {
            for number in 0..12 {
                scope.spawn(move || exchange(address, round * 100 + number).expect("an exchange failed"));
            }
        });
    }
    println!("all right");
    Ok(())
}

fn hold(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    println!("held");
    stream.read(&mut [0]).map(|_| ())
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let address = format!("{}:{}", words[2], words[3]);
    match words[1].as_str() {
        "serve" => serve(&address),
        "hold" => hold(&address),
        _ => ask(&address),
    }
}

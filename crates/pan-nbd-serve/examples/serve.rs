//! Serves memory or a file on a unix socket until it is interrupted: `serve SOCKET memory SIZE` or `serve SOCKET file PATH`.
//!
//! For trying clients (`nbdinfo "nbd+unix:///?socket=SOCKET"`) and for measuring what serving costs.

use std::error::Error;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;

use pan_model::ByteSize;
use pan_nbd::{Access, BlockSizes, Connections, Export, ExportName, Listing, Medium};
use pan_nbd_serve::{Exports, File, Limits, Memory, Served, Storage, Wish, bind, serve};
use tokio::sync::watch;

const USAGE: &str = "usage: serve SOCKET memory SIZE | serve SOCKET file PATH";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let served = match arguments[..] {
        [socket, "memory", size] => run(Path::new(socket), size.parse()?, Memory::new()).await?,
        [socket, "file", path] => {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            let size = ByteSize(file.metadata()?.len());
            run(Path::new(socket), size, File::new(file)).await?
        }
        _ => return Err(USAGE.into()),
    };
    eprintln!("{served:?}");
    Ok(())
}

async fn run<S: Storage>(socket: &Path, size: ByteSize, storage: S) -> Result<Served, Box<dyn Error>> {
    let export = Export {
        name: ExportName::new("disk")?,
        description: String::new(),
        size,
        access: Access::ReadWrite,
        connections: Connections::Many,
        medium: Medium::Solid,
        blocks: BlockSizes::UNTOLD,
    };
    let exports = Exports::new(vec![(export, Arc::new(storage))], Listing::Shown)?;
    let (wish, wished) = watch::channel(Wish::Serve);
    let server = tokio::spawn(serve(bind(socket)?, exports, Limits::LOCAL, wished));
    tokio::signal::ctrl_c().await?;
    wish.send(Wish::End)?;
    let served = server.await?;
    std::fs::remove_file(socket)?;
    Ok(served)
}

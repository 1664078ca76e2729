//! `POST …/exec`: runs a program inside a server and streams what it writes, one JSON frame a line. When the
//! caller goes away, the program is killed with what it started. A program that cannot be started ends as in a shell:
//! 127 when it is not there, 126 when it is no program, with the reason on standard error.

use std::io;
use std::process::Stdio;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream;
use pan_api::ApiError;
use pan_api::requests::{Exec, ExecFrame};
use pan_model::{Code, PartitionName, ServerKey, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::routes::{Inside, Refusal};
use crate::server::exec::{Inside as Program, Refused};

/// Frames that wait for the caller; a program that finds them full waits.
const FRAMES_MAX: usize = 16;
const CHUNK_MAX: usize = 32 << 10;

/// See the module.
pub(super) async fn exec(
    State(inside): State<Arc<Inside>>,
    Path((partition, name)): Path<(PartitionName, ServerName)>,
    Json(exec): Json<Exec>,
) -> Result<Response, Refusal> {
    let key = ServerKey { partition, name };
    let refuse = |code, message: String| Refusal(ApiError::new(code, message));
    if inside.find(&key)?.instance.is_none() {
        return Err(refuse(Code::State, format!("server {key} is not running now")));
    }
    if exec.command.is_empty() {
        return Err(refuse(Code::Invalid, "the command is empty: expected a program and its arguments".into()));
    }
    let stdin = exec.stdin.map(|text| BASE64_STANDARD.decode(text)).transpose();
    let stdin = stdin.map_err(|error| refuse(Code::Invalid, format!("stdin is not base64: {error}")))?;
    let input = if stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    let program = Program::start(&inside.host.container(&key), &exec.command, |command| {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    });
    let program = program.map_err(|error| refuse(Code::Internal, format!("cannot start the OCI runtime: {error}")))?;
    let asked = Asked { server: key, command: exec.command, stdin };
    let (frames, inbox) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(async move {
        tokio::select! {
            () = drive(program, asked, &frames) => {}
            // Nobody listens any more; the program goes with `drive`.
            () = frames.closed() => {}
        }
    });
    let lines = stream::unfold(inbox, async |mut inbox| {
        let frame: ExecFrame = inbox.recv().await?;
        let mut line = serde_json::to_vec(&frame).expect("a frame is plain data");
        line.push(b'\n');
        Some((Ok::<_, io::Error>(Bytes::from(line)), inbox))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// What is run where, with what input.
struct Asked {
    server: ServerKey,
    command: Vec<String>,
    stdin: Option<Vec<u8>>,
}

async fn drive(mut program: Program, asked: Asked, frames: &mpsc::Sender<ExecFrame>) {
    let missed = |error: io::Error| {
        tracing::warn!(%error, "the end of a program was missed");
        255
    };
    match program.begun(&asked.command).await {
        Ok(Ok(())) => {}
        Ok(Err(Refused { status, message })) => {
            let text = format!("exec in server {}: {message}\n", asked.server);
            let _gone = frames.send(ExecFrame::Stderr(BASE64_STANDARD.encode(text))).await;
            let _gone = frames.send(ExecFrame::Exit(status)).await;
            return;
        }
        Err(error) => {
            let _gone = frames.send(ExecFrame::Exit(missed(error))).await;
            return;
        }
    }
    let (input, out, err) = (program.child.stdin.take(), program.child.stdout.take(), program.child.stderr.take());
    let feed = async {
        if let (Some(mut input), Some(text)) = (input, asked.stdin) {
            // A program need not read all of it.
            let _unread = input.write_all(&text).await;
        }
    };
    tokio::join!(feed, pump(out, ExecFrame::Stdout, frames), pump(err, ExecFrame::Stderr, frames));
    let code = program.wait().await.unwrap_or_else(missed);
    program.leave();
    let _gone = frames.send(ExecFrame::Exit(code)).await;
}

async fn pump(stream: Option<impl AsyncRead + Unpin>, wrap: fn(String) -> ExecFrame, frames: &mpsc::Sender<ExecFrame>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; CHUNK_MAX];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if frames.send(wrap(BASE64_STANDARD.encode(&buffer[..count]))).await.is_err() {
            return;
        }
    }
}

//! `pan host …`: hosts leave; how they come is `pan join`.

use super::failure::Failure;
use super::session::Session;
use pan_model::HostName;
use serde_json::json;

/// `pan host remove`.
pub async fn remove(host: &HostName, session: &Session) -> Result<(), Failure> {
    let (): () = session.client()?.delete(&format!("/v1/hosts/{host}")).await?;
    if session.out.is_data() {
        return session.out.data(&json!({"kind": "host", "name": host, "result": "removed"}));
    }
    session.out.say(&format!("host {host} removed"))
}

/// `pan key rotate`.
pub async fn rotate_keys(session: &Session) -> Result<(), Failure> {
    let (): () = session.client()?.post("/v1/keys/rotate", &json!({})).await?;
    if session.out.is_data() {
        return session.out.data(&json!({"kind": "key", "name": "heartbeats", "result": "rotating"}));
    }
    session.out.say("new keys are handed out; they are used once every host has them (`pan events -A`)")
}

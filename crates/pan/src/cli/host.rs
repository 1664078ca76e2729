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

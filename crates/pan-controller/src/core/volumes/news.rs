//! What a server's report says of its volumes that people should know, once.

use crate::core::seen::ServerSeen;
use crate::core::world::{Now, World};
use pan_api::report::ServerReport;
use pan_api::volume::VolumeReport;
use pan_model::VolumeName;
use pan_model::event::Severity;

/// Tells what is new since the report before.
pub(in crate::core) fn tell(world: &mut World, now: Now, former: &Option<ServerSeen>, report: &ServerReport) {
    for volume in &report.volumes {
        let before = former.iter().flat_map(|seen| &seen.report.volumes).find(|one| one.volume == volume.volume);
        if before == Some(volume) {
            continue;
        }
        let name = world.volumes.iter().find(|(_, record)| record.id == volume.volume).map(|(key, _)| key.name.clone());
        for (kind, text) in name.into_iter().flat_map(|name| news(&name, before, volume)) {
            world.server_event(now, &report.key, Severity::Warning, kind, text);
        }
    }
}

/// Of a volume that was not heard of before only what goes on: a controller that was restarted has told the rest.
fn news(name: &VolumeName, before: Option<&VolumeReport>, volume: &VolumeReport) -> Vec<(&'static str, String)> {
    let mut news = Vec::new();
    if before.is_some_and(|before| volume.restarts > before.restarts) {
        news.push(("HeadLost", format!("volume {name}: its head ended and another one took over")));
    }
    let mended = before.map_or(0, |before| volume.mended.saturating_sub(before.mended));
    if mended > 0 {
        let what = "of 128 KiB were not what was written on one of its copies, and were written anew from another one";
        news.push(("CopyMended", format!("volume {name}: {mended} extents {what}")));
    }
    if volume.rotten > before.map_or(0, |before| before.rotten) {
        let what = "of 128 KiB are whole on none of its copies in sync: reading what is damaged in them fails";
        news.push(("VolumeRotten", format!("volume {name}: {} extents {what}", volume.rotten)));
    }
    if let Some(why) = volume.ungrown.as_ref().filter(|_| before.is_none_or(|before| before.ungrown.is_none())) {
        news.push((
            "GrowFailed",
            format!("volume {name}: its file system could not be made as large as it, and that is tried again: {why}"),
        ));
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_api::volume::HeadState;
    use pan_model::{ByteSize, VolumeEpoch, VolumeId};

    fn report(restarts: u64, mended: u64, rotten: u64) -> VolumeReport {
        let (volume, epoch, state, behind) = (VolumeId(1), VolumeEpoch(1), HeadState::Open, ByteSize(0));
        VolumeReport { volume, epoch, state, behind, restarts, mended, rotten, ungrown: None }
    }

    #[test]
    fn what_is_new_is_told_once() {
        let check = |before: Option<VolumeReport>, now, kinds: &[&str]| {
            let told = news(&"data".parse().unwrap(), before.as_ref(), &now);
            assert_eq!(told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), kinds, "{told:?}");
        };
        check(None, report(3, 4, 0), &[]);
        check(None, report(0, 0, 2), &["VolumeRotten"]);
        check(Some(report(0, 0, 2)), report(0, 0, 2), &[]);
        check(Some(report(0, 1, 2)), report(1, 5, 3), &["HeadLost", "CopyMended", "VolumeRotten"]);
        check(Some(report(0, 5, 3)), report(0, 5, 1), &[]);
        let small = |why: &str| VolumeReport { ungrown: Some(why.into()), ..report(0, 0, 0) };
        check(None, small("no space"), &["GrowFailed"]);
        check(Some(report(0, 0, 0)), small("no space"), &["GrowFailed"]);
        check(Some(small("no space")), small("no space either"), &[]);
        check(Some(small("no space")), report(0, 0, 0), &[]);
    }
}

//! Full and failing disks.

use pan_lab::Disk;

use super::{host, ok, shell, up};

pub fn a_full_disk_takes_nothing_more() {
    let lab = up();
    let n1 = host("n1");
    ok(&lab, "n1", &["sh", "-c", "seq 100000 >/var/lib/pan/old"]);
    lab.disk(n1, Disk::Full).unwrap();
    let write = "dd if=/dev/zero of=/var/lib/pan/new bs=64k count=1 conv=fsync";
    let (done, said) = shell(&lab, "n1", write);
    assert!(!done && said.contains("No space left on device"), "{said}");
    assert!(shell(&lab, "n1", "rm /var/lib/pan/old").0);
    let (done, said) = shell(&lab, "n1", write);
    assert!(!done && said.contains("No space left on device"), "making room does not help: {said}");
    assert!(shell(&lab, "n2", write).0, "others have room");
    assert_eq!(lab.hosts().unwrap()[1].disk, Disk::Full);
    lab.kill(n1).unwrap();
    lab.start(n1).unwrap();
    assert!(!shell(&lab, "n1", write).0, "a boot makes no room");
    lab.disk(n1, Disk::Ok).unwrap();
    let (done, said) = shell(&lab, "n1", write);
    assert!(done, "{said}");
}

pub fn a_failed_disk_fails_until_it_is_well() {
    let lab = up();
    let n1 = host("n1");
    ok(&lab, "n1", &["sh", "-c", "echo old >/var/lib/pan/old; sync"]);
    lab.disk(n1, Disk::Failed).unwrap();
    for script in ["cat /var/lib/pan/old", "echo new >/var/lib/pan/new"] {
        let (done, said) = shell(&lab, "n1", script);
        assert!(!done && said.contains("Input/output error"), "{script}: {said}");
    }
    assert!(shell(&lab, "n1", "cat /var/lib/pan/etc/host.yaml /var/lib/pan/log/init.log").0, "what is the lab's is not on it");
    lab.disk(n1, Disk::Ok).unwrap();
    assert_eq!(
        shell(&lab, "n1", "cat /var/lib/pan/old; echo new >/var/lib/pan/new; sync; cat /var/lib/pan/new"),
        (true, "old\nnew\n".into())
    );
    assert!(shell(&lab, "n1", "test -s /var/lib/pan/log/init.log -a -x /var/lib/pan/bin/pan -a -s /var/lib/pan/etc/host.yaml").0);
    lab.disk(n1, Disk::Failed).unwrap();
    lab.disk(n1, Disk::Full).unwrap();
    assert_eq!(shell(&lab, "n1", "cat /var/lib/pan/old"), (true, "old\n".into()));
    assert!(!shell(&lab, "n1", "dd if=/dev/zero of=/var/lib/pan/big bs=64k count=1 conv=fsync").0);
    // Off and on again with a disk that is broken, and well again while the host is off.
    lab.disk(n1, Disk::Failed).unwrap();
    lab.kill(n1).unwrap();
    lab.start(n1).unwrap();
    assert!(!shell(&lab, "n1", "cat /var/lib/pan/old").0);
    lab.kill(n1).unwrap();
    lab.disk(n1, Disk::Ok).unwrap();
    lab.start(n1).unwrap();
    assert_eq!(shell(&lab, "n1", "cat /var/lib/pan/old /var/lib/pan/new"), (true, "old\nnew\n".into()));
}

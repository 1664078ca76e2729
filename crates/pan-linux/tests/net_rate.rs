//! How much an interface sends at most, measured with connections on the real kernel.
#![allow(clippy::unwrap_used)]

mod net_rig;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use net_rig::{Space, may_run, net};
use pan_linux::rtnl::BridgeSpec;

/// How long is measured, after as long as a connection takes to find its pace.
const MEASURED: Duration = Duration::from_millis(1500);
const WARM_UP: Duration = Duration::from_millis(500);

/// Bits a second that arrive of one connection.
fn measure(from: &Space, to: &Space, address: &str) -> f64 {
    let listener = to.netns.run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let at = listener.local_addr().unwrap();
    let mut sender = from.netns.run(|| TcpStream::connect(at)).unwrap().unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    let sends = std::thread::spawn(move || while sender.write_all(&[7; 65_536]).is_ok() {});
    let mut room = vec![0; 65_536];
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        assert!(receiver.read(&mut room).unwrap() > 0);
    }
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < MEASURED {
        bytes += receiver.read(&mut room).unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(receiver);
    sends.join().unwrap();
    bytes as f64 * 8.0 / seconds
}

#[test]
fn a_server_sends_as_much_as_it_may_and_others_as_much_as_before() {
    if !may_run("a_server_sends_as_much_as_it_may_and_others_as_much_as_before") {
        return;
    }
    let host = Space::new("host");
    let rtnl = host.rtnl();
    rtnl.add_bridge("br", &BridgeSpec { mac: [2, 0, 0, 0, 0, 9], mcast_snooping: false }).unwrap();
    rtnl.set_up("br").unwrap();
    let server = |number: u8| {
        let space = Space::new(&format!("s{number}"));
        let port = format!("p{number}");
        rtnl.add_veth_to(&port, "eth0", &space.netns).unwrap();
        rtnl.set_master(&port, "br").unwrap();
        rtnl.set_up(&port).unwrap();
        space.rtnl().replace_addr("eth0", net(&format!("10.9.0.{number}/24"))).unwrap();
        space.rtnl().set_up("eth0").unwrap();
        space
    };
    let (limited, free, sink) = (server(1), server(2), server(3));
    limited.reaches("10.9.0.3");
    free.reaches("10.9.0.3");
    let set = |rate| limited.rtnl().set_send_rate("eth0", rate).unwrap();
    // Nothing is there to be removed.
    set(None);
    for rate in [4_000_000, 50_000_000, 400_000_000] {
        set(Some(rate));
        // Frames count with their headers, which are some 4 % of full ones.
        let share = measure(&limited, &sink, "10.9.0.3") / rate as f64;
        assert!((0.85..=1.15).contains(&share), "{share} of {rate}");
    }
    set(Some(20_000_000));
    let (slow, fast) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| measure(&limited, &sink, "10.9.0.3"));
        let fast = scope.spawn(|| measure(&free, &sink, "10.9.0.3"));
        (slow.join().unwrap(), fast.join().unwrap())
    });
    assert!((17e6..=23e6).contains(&slow), "{slow}");
    // Behind one's limit another one goes as fast as the machine lets it, which no limit of theirs has to do with.
    assert!(fast > 400e6, "{fast}");
    set(None);
    let unlimited = measure(&limited, &sink, "10.9.0.3");
    assert!(unlimited > 400e6, "{unlimited}");
}

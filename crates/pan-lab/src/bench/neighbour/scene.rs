//! Two partitions, and what the loud one runs.

/// A program that uses up what it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noise {
    /// Every process of it forks for ever.
    ForkBomb,
    /// It takes memory, and writes to all of it, until it is killed; and again.
    MemoryHog,
    /// It sends small datagrams as fast as it can.
    PacketStorm,
}

impl Noise {
    /// All of them, in the order in which they are run.
    pub(super) const ALL: [Self; 3] = [Self::ForkBomb, Self::MemoryHog, Self::PacketStorm];

    /// Its cluster, and its name in reports.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ForkBomb => "fork-bomb",
            Self::MemoryHog => "memory-hog",
            Self::PacketStorm => "packet-storm",
        }
    }
}

/// What stands for the address that is sent to, until it is known.
pub(super) const SINK: &str = "10.0.0.200";

/// What is applied. The loud one's may have half a processor together.
pub(super) const SCENE: &str = r#"
api: pan/v1
kind: Partition
name: quiet
spec: {network: 10.0.0.0/24, hostImage: allow}
---
api: pan/v1
kind: Cluster
partition: quiet
name: web
spec:
  servers: 1
  image: host
  labels: {house: n1}
  command:
    - sh
    - -c
    - |
      printf 'return 200 "%s\\n";\n' "$PAN_SERVER" >/run/answer.conf
      exec nginx -g 'daemon off;'
  files:
    - path: /etc/nginx/nginx.conf
      content: |
        user www-data;
        worker_processes 1;
        pid /run/nginx.pid;
        error_log stderr;
        events { worker_connections 4096; }
        http {
          access_log off;
          default_type text/plain;
          server {
            listen 80;
            location / { include /run/answer.conf; }
          }
        }
  resources: {cpu: 500m, memory: 64MiB}
  health: {http: {port: 80, path: /}, every: 500ms, failures: 2}
---
api: pan/v1
kind: Service
partition: quiet
name: www
spec: {address: 198.18.0.10, port: 80, cluster: web}
---
api: pan/v1
kind: Partition
name: loud
spec: {network: 10.0.0.0/24, hostImage: allow, capacity: {max: {cpu: 500m, memory: 768MiB}}}
---
api: pan/v1
kind: Cluster
partition: loud
name: sink
spec:
  servers: 1
  image: host
  labels: {house: n2}
  command: [sleep, inf]
  resources: {cpu: 50m, memory: 32MiB}
---
api: pan/v1
kind: Cluster
partition: loud
name: fork-bomb
spec:
  servers: 0
  image: host
  labels: {house: n1}
  command: [perl, -e, "fork while 1"]
  resources: {cpu: 450m, memory: 512MiB}
  stop: {signal: KILL, grace: 1s}
---
api: pan/v1
kind: Cluster
partition: loud
name: memory-hog
spec:
  servers: 0
  image: host
  labels: {house: n1}
  command: [sh, -c, "while :; do perl -e 'push @all, \"x\" x 1048576 while 1'; done"]
  resources: {cpu: 450m, memory: 512MiB}
  stop: {signal: KILL, grace: 1s}
---
api: pan/v1
kind: Cluster
partition: loud
name: packet-storm
spec:
  servers: 0
  image: host
  labels: {house: n1}
  command:
    - perl
    - -MSocket
    - -e
    - |
      socket(my $out, PF_INET, SOCK_DGRAM, 0) or die $!;
      my @to = map { sockaddr_in(9, inet_aton($_)) } ("10.0.0.200", "10.0.0.1");
      while (1) { send($out, "x" x 18, 0, $_) for @to }
  resources: {cpu: 450m, memory: 512MiB}
  stop: {signal: KILL, grace: 1s}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scene_is_what_is_asked_for_here() {
        let documents = pan_model::manifest::parse(&[("scene".into(), SCENE.into())], None).unwrap();
        let clusters: Vec<&str> = documents.iter().filter(|one| one.object.kind() == "cluster").map(|one| one.object.name()).collect();
        assert_eq!(clusters, ["web", "sink", "fork-bomb", "memory-hog", "packet-storm"]);
        assert_eq!(clusters[2..], Noise::ALL.map(Noise::as_str));
    }
}

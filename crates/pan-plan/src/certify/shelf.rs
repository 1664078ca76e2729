//! Best fit without looking at every machine: machines in the order of what is free, with the most of each
//! resource below every fork.

/// Machines that take servers, the fullest first.
pub(super) struct Shelf {
    machines: Vec<usize>,
    /// The most that is free of each resource below a fork; fork 1 is the root, the children of `i` are `2i` and `2i + 1`.
    most: Vec<Vec<u64>>,
}

impl Shelf {
    /// A shelf of machines with what is free on each. What is compared first comes first.
    pub(super) fn new(mut machines: Vec<(Vec<u64>, usize)>) -> Self {
        // Two resources decide; the others only have to suffice.
        machines.sort_unstable_by(|(a, one), (b, other)| (&a[..2], one).cmp(&(&b[..2], other)));
        let size = machines.len().next_power_of_two();
        let mut most = vec![Vec::new(); size];
        let (amounts, machines): (Vec<Vec<u64>>, Vec<usize>) = machines.into_iter().unzip();
        most.extend(amounts);
        most.resize(2 * size, Vec::new());
        for fork in (1..size).rev() {
            let (left, right) = (&most[2 * fork], &most[2 * fork + 1]);
            most[fork] =
                if right.is_empty() { left.clone() } else { left.iter().zip(right).map(|(left, right)| *left.max(right)).collect() };
        }
        Self { machines, most }
    }

    /// The first machine that has enough of everything and that is accepted.
    pub(super) fn first(&self, need: &[u64], accept: impl Fn(usize) -> bool) -> Option<usize> {
        self.below(1, need, &accept)
    }

    fn below(&self, fork: usize, need: &[u64], accept: &impl Fn(usize) -> bool) -> Option<usize> {
        let most = self.most.get(fork)?;
        if most.is_empty() || need.iter().zip(most).any(|(need, most)| need > most) {
            return None;
        }
        match fork.checked_sub(self.most.len() / 2) {
            Some(leaf) => Some(self.machines[leaf]).filter(|machine| accept(*machine)),
            None => self.below(2 * fork, need, accept).or_else(|| self.below(2 * fork + 1, need, accept)),
        }
    }
}

//! Threads that do not go to sleep between one parallel loop and the next.
//!
//! A token is a hundred parallel loops of some 20 microseconds each with a little work in between, during which a thread of a pool
//! falls asleep; to wake it takes longer than its share of the next loop.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Pauses between two looks, which take a third of a microsecond with them.
const PAUSES: usize = 8;
/// Looks in vain after which a thread takes a nap after each: a tenth of a millisecond. Where the caller has been without a parallel
/// loop for so long, it has other things to do, or its core, which then others want too.
const LOOKS: usize = 300;
/// A nap.
const NAP: Duration = Duration::from_micros(100);

/// Runs `f` on the calling thread, of a rayon pool, while the pool's other threads look for its work instead of going to sleep.
pub fn awake<R>(f: impl FnOnce() -> R) -> R {
    struct Ended<'a>(&'a AtomicBool);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let (ended, caller) = (AtomicBool::new(false), rayon::current_thread_index());
    rayon::in_place_scope(|scope| {
        let _ended = Ended(&ended); // also when `f` panics
        scope.spawn_broadcast(|_, thread| {
            let mut in_vain = 0;
            // the caller too finds this among its jobs while it waits for others
            while caller != Some(thread.index()) && !ended.load(Ordering::Acquire) {
                match rayon::yield_now() {
                    Some(rayon::Yield::Executed) => in_vain = 0,
                    _ if in_vain < LOOKS => {
                        in_vain += 1;
                        (0..PAUSES).for_each(|_| spin_loop());
                    }
                    _ => std::thread::sleep(NAP),
                }
            }
        });
        f()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn loops_inside_run_to_their_end_in_pools_of_any_size_and_outside_of_one() {
        let sum = || awake(|| (0..100).map(|n| (0..1000).into_par_iter().map(|i| i * n).sum::<u64>()).sum::<u64>());
        assert_eq!(sum(), 999 * 500 * 99 * 50);
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            for _ in 0..100 {
                assert_eq!(pool.install(sum), 999 * 500 * 99 * 50);
            }
        }
    }

    #[test]
    fn a_panic_inside_comes_out() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
        let fails = || awake(|| (0..10).into_par_iter().for_each(|i| assert!(i < 9, "the tenth")));
        assert!(pool.install(|| std::panic::catch_unwind(fails)).is_err());
    }
}

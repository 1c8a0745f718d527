//! Threads that do not go to sleep between one parallel loop and the next.
//!
//! A token is a hundred parallel loops of some 20 microseconds each with a little work in between, during which a thread of a pool
//! falls asleep; to wake it takes longer than its share of the next loop.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};

/// Pauses between two looks, which take a third of a microsecond with them.
const PAUSES: usize = 8;
/// Looks in vain after which a thread may sleep again: a millisecond. Where the caller has been without a parallel loop for so long, it
/// has other things to do, or its core, which then others want too.
const LOOKS: usize = 3000;

/// Runs `f` on the calling thread while the other threads of its rayon pool look for work instead of going to sleep.
///
/// A thread may come to look while it waits for a part of a loop, and that loop's end may be what `f` waits for: it must not look for
/// as long as `f` runs, only until there is nothing.
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
            while caller != Some(thread.index()) && in_vain < LOOKS && !ended.load(Ordering::Acquire) {
                if rayon::yield_now() == Some(rayon::Yield::Executed) {
                    in_vain = 0;
                } else {
                    in_vain += 1;
                    (0..PAUSES).for_each(|_| spin_loop());
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

    /// A thread that begins to look while its own part of a loop is unfinished must come back to it.
    #[test]
    fn a_caller_outside_the_pool_is_not_waited_for_by_what_it_waits_for() {
        let work = |n: u64| (0..500 * (n % 7)).fold(0, |sum, i| std::hint::black_box(sum + i % 2));
        for i in 0..20_000 {
            let loops = || (0..1 + i % 3).map(|_| (0..16).into_par_iter().map(work).sum::<u64>()).sum::<u64>();
            assert_eq!(awake(loops), (1 + i % 3) * 250 * (0..16).map(|n| n % 7).sum::<u64>());
        }
    }

    #[test]
    fn a_panic_inside_comes_out() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
        let fails = || awake(|| (0..10).into_par_iter().for_each(|i| assert!(i < 9, "the tenth")));
        assert!(pool.install(|| std::panic::catch_unwind(fails)).is_err());
    }
}

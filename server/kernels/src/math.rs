//! Vectorisable scalar functions and the loop that runs them with the widest instructions the CPU has.

use pulp::Simd;

/// Defines a function that runs compiled for the best instruction set found at run time (AVX-512, AVX2, baseline).
///
/// A closure would not do: unless it is inlined it keeps the baseline's instructions. In such a function
/// `mul_add` is one instruction where the CPU has AVX2 and FMA, and a slow call elsewhere.
macro_rules! wide {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) -> $ret {
            struct Op<T>(T);
            impl pulp::NullaryFnOnce for Op<($($ty,)*)> {
                type Output = $ret;
                #[inline(always)]
                fn call(self) -> $ret {
                    let ($($arg,)*) = self.0;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Op(($($arg,)*)))
        }
    };
}
pub(crate) use wide;

/// e^x with a relative error below 2e-7; 0 below -87.3, saturating near 2.4e38 above 88.3. Branch-free, so that loops
/// over it vectorise.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let clamped = x.clamp(-87.3, 88.3);
    let t = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = n.mul_add(-LN2_LO, n.mul_add(-LN2_HI, clamped));
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_6e-1);
    let p = p.mul_add(r, 0.5);
    let y = (p * r).mul_add(r, r) + 1.0;
    let scale = f32::from_bits((t.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    if x < -87.3 { 0.0 } else { y * scale }
}

/// Sum of `f` over the columns of `rows`, which have one length; as [`sums_by`] makes it.
#[inline(always)]
pub(crate) fn sum_by<const N: usize>(rows: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    let [sum] = sums_by(rows, |x| [f(x)]);
    sum
}

/// Sums of each number of `f` over the columns of `rows`, which have one length. They are made in 16 lanes of whole blocks, without an
/// index that might be out of bounds, so that the compiler vectorises them; the order is fixed.
#[inline(always)]
pub(crate) fn sums_by<const N: usize, const M: usize>(rows: [&[f32]; N], f: impl Fn([f32; N]) -> [f32; M]) -> [f32; M] {
    let rows = rows.map(<[f32]>::as_chunks::<16>);
    let blocks = rows.map(|(blocks, _)| blocks.len()).into_iter().min().unwrap_or_default();
    let mut lanes = [[0f32; 16]; M];
    for i in 0..blocks {
        let block = rows.map(|(blocks, _)| &blocks[i]);
        for l in 0..16 {
            for (lanes, x) in lanes.iter_mut().zip(f(block.map(|block| block[l]))) {
                lanes[l] += x;
            }
        }
    }
    let mut totals = lanes.map(total);
    for i in 0..rows.map(|(_, rest)| rest.len()).into_iter().min().unwrap_or_default() {
        for (total, x) in totals.iter_mut().zip(f(rows.map(|(_, rest)| rest[i]))) {
            *total += x;
        }
    }
    totals
}

/// Dot product of two rows of one length; the order is fixed. Written with whole registers: a loop over lanes is compiled to pairs of
/// numbers where the lanes are added up at once.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let ((a, a_few), (b, b_few)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let mut sums = [simd.splat_f32s(0.0); 4];
    for (a, b) in a.iter().zip(b) {
        for l in 0..4 {
            sums[l] = simd.mul_add_e_f32s(a[l], b[l], sums[l]);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_few).zip(b_few) {
        *sum = simd.mul_add_e_f32s(a, b, *sum);
    }
    let [x, y, z, w] = sums;
    let mut total = simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(x, y), simd.add_f32s(z, w)));
    for (a, b) in a_rest.iter().zip(b_rest) {
        total += a * b;
    }
    total
}

/// Sum of lanes as a tree, which compiles to shuffles.
#[inline(always)]
fn total(mut lanes: [f32; 16]) -> f32 {
    let mut half = 8;
    while half > 0 {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Asks for the numbers of `x` from `from` on, `n` of them, which are needed soon; nothing happens where there are none.
#[inline(always)]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "a hint to the CPU"))]
pub(crate) fn prefetch(x: &[f32], from: usize, n: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(x) = x.get(from..from + n) {
        for line in x.chunks(16) {
            // SAFETY: a hint reads nothing.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, from, n);
}

/// Largest number of a row; -inf for an empty one.
#[inline(always)]
pub(crate) fn max_of(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (whole, rest) = row.as_chunks::<16>();
    for chunk in whole {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    wide! {
        fn exp_wide(x: f32) -> f32 {
            exp(x)
        }
    }

    struct Dot<'a>(&'a [f32], &'a [f32]);

    impl pulp::WithSimd for Dot<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            dot(simd, self.0, self.1)
        }
    }

    wide! {
        fn sums(a: &[f32], b: &[f32]) -> [f32; 2] {
            sums_by([a, b], |[a, b]| [a * b, a + b])
        }
    }

    #[test]
    fn sums_of_any_length_equal_plain_ones() {
        for n in 0..300 {
            let number = |i: usize| ((i * 37 + n) % 101) as f32 / 50.0 - 1.0;
            let (a, b): (Vec<f32>, Vec<f32>) = ((0..n).map(number).collect(), (0..n).map(|i| number(i + 3)).collect());
            let [products, all] = sums(&a, &b);
            let sum = |f: fn(f32, f32) -> f32| a.iter().zip(&b).map(|(a, b)| f64::from(f(*a, *b))).sum::<f64>();
            for (got, want) in [
                (pulp::Arch::new().dispatch(Dot(&a, &b)), sum(|a, b| a * b)),
                (products, sum(|a, b| a * b)),
                (all, sum(|a, b| a + b)),
                (sum_by([&a], |[a]| a), sum(|a, _| a)),
            ] {
                assert!((f64::from(got) - want).abs() < 1e-4, "{n} numbers: {got}, not {want}");
            }
        }
    }

    #[test]
    fn exp_is_accurate_over_its_range() {
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            let got = f64::from(exp_wide(x));
            assert!((got - want).abs() <= 3e-7 * want, "exp({x}) = {got}, not {want}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-100.0), 0.0);
        assert!(exp(1000.0).is_finite());
    }
}

//! Every way of this CPU against sums in f64 and against the safe twins.

use super::*;
use rand::{Rng, SeedableRng};

#[test]
fn rounding_is_to_nearest_even_and_keeps_what_is_special() {
    assert_eq!(widen(round(1.0)), 1.0);
    assert_eq!(widen(round(1.0 + 1.0 / 256.0)), 1.0); // a tie goes to even
    assert_eq!(widen(round(1.0 + 3.0 / 256.0)), 1.0 + 4.0 / 256.0);
    assert_eq!(widen(round(f32::INFINITY)), f32::INFINITY);
    assert!(widen(round(f32::NAN)).is_nan() && widen(round(f32::from_bits(0x7f80_0001))).is_nan());
}

/// What way `way` makes of `a` [m, k].
fn rounded_rows(a: &[f32], k: usize, way: Way) -> Vec<f32> {
    match way {
        Way::Pairs => a.iter().map(|x| widen(round(*x))).collect(),
        Way::Integers512 | Way::IntegersVnni | Way::Integers => a.chunks(k).flat_map(integers::tests::rounded_row).collect(),
        Way::Tiles | Way::Widened512 | Way::Portable => a.to_vec(),
    }
}

/// B[i, j] as it was packed for integers: (integer, scale).
pub(super) fn integer(b: &Packed, i: usize, j: usize) -> (i16, f32) {
    let (bits, scale) = packed_at(b, i, j);
    (bits as i16, scale.expect("integers have scales"))
}

/// Bits of B[i, j] and the scale of integers.
fn packed_at(b: &Packed, i: usize, j: usize) -> (u16, Option<f32>) {
    let ((line, at), panel) = (place(i, j % COLS), j / COLS * b.along());
    (b.lines[panel * COLS + line].0[at], b.scales.get((panel + i / LINE) / LINES).map(|scales| scales.0[j % COLS]))
}

/// Hands tiles of each of these heights, of whole blocks along k and up to 32 columns, to `compute`, (tile, rows of A, where the sums
/// go, how far rows lie apart there), and holds what it makes of them to the safe twin, number for number.
#[cfg(target_arch = "x86_64")]
pub(super) fn each_tile(heights: std::ops::RangeInclusive<usize>, way: Way, compute: impl Fn(&Tile, integers::Integers, *mut f32, usize)) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    for (m, k, n) in heights.flat_map(|m| [(m, 64, 32), (m, 200, 32), (m, 640, 1 + 2 * m)]) {
        let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
        let (a, b) = (fill(m * k), fill(k * n));
        let (packed, rows) = (Packed::arranged(Mat::rows(&b, n), k, n, way), integers::Rows::new(&a, k, m));
        let (run, mut got) = (packed.used[0].clone(), vec![0f32; m * n]);
        let (b, scales) = (packed.part(0, &run), packed.scales(0, &run));
        let (ahead, next_scales) = (b.as_ptr(), scales.as_ptr());
        let t = Tile {
            b,
            scales,
            next_scales,
            rows: m,
            cols: n,
            base: None,
            alpha: 1.0,
            ahead,
            fetch: 2,
            turn_of: (0, 1),
            resumes: false,
            last: true,
        };
        compute(&t, rows.part(&run, m), got.as_mut_ptr(), n);
        assert_eq!(got, integers::tests::product(&rows, m, n, |i, j| integer(&packed, i, j)), "{m}x{n}x{k}");
    }
}

/// B [k, n] as it was packed.
fn numbers(b: &Packed) -> Vec<f32> {
    let number = |i: usize, j: usize| match packed_at(b, i, j) {
        (bits, Some(scale)) => f32::from(bits as i16) * scale,
        (bits, None) => widen(bits),
    };
    (0..b.k * b.n).map(|at| number(at / b.n, at % b.n)).collect()
}

/// Every way of this CPU agrees with f64 sums of the numbers that it rounds to.
#[test]
fn products_equal_the_sum_of_rounded_numbers_on_random_shapes() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    for case in 0..120 {
        let (m, n) = (if case < ROWS { case + 1 } else { rng.random_range(1..70) }, rng.random_range(1..100));
        let k = if case % 10 == 0 { rng.random_range(4090..4400) } else { rng.random_range(1..140) };
        let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
        let (a, b, start) = (fill(m * k), fill(k * n), fill(m * n));
        let transposed: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
        for &way in Way::all() {
            let (packed, rows) = (Packed::arranged(Mat::rows(&b, n), k, n, way), rounded_rows(&a, k, way));
            let (from_t, columns) = (Packed::arranged(Mat::rows(&transposed, k).t(), k, n, way), numbers(&packed));
            let most = if way.shares_scales() { 1.0 / 4000.0 } else { 1.0 / 512.0 };
            assert!(columns.iter().zip(&b).all(|(x, b)| (x - b).abs() <= most), "{way:?}");
            for (base, alpha) in [(None, 1.0), (Some(&start[..]), 0.5), (Some(&start[..n]), 1.0)] {
                let got = packed.product_by(m, &a, base, alpha, way);
                assert_eq!(got, from_t.product_by(m, &a, base, alpha, way), "{way:?}");
                if way.shares_scales() {
                    assert_eq!(got, packed.product_by(m, &a, base, alpha, Way::Integers), "{way:?} and AVX2");
                }
                for (i, got) in got.into_iter().enumerate() {
                    let dot: f64 = (0..k).map(|x| f64::from(rows[i / n * k + x]) * f64::from(columns[x * n + i % n])).sum();
                    let want = base.map_or(0.0, |base| f64::from(base[i % base.len()])) + f64::from(alpha) * dot;
                    let got = f64::from(got);
                    assert!((got - want).abs() < 1e-5 * (k as f64).sqrt().max(4.0), "{way:?} {m}x{n}x{k}: {got}, not {want}");
                }
            }
        }
    }
}

/// The safe twin of products of integers: the same sums in the same order, number for number.
#[test]
fn products_of_integers_are_those_of_their_safe_twin() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    for (m, k, n) in [(1, 1, 1), (2, 64, 32), (3, 70, 40), (9, 576, 70), (6, 3000, 33)] {
        // as large as they get, of one sign a row and a column, so that a sum that left its 32 bits would be seen
        let mut fill = |len: usize| (0..len).map(|_| if rng.random() { 1.0f32 } else { rng.random_range(0.999..1.0) }).collect::<Vec<_>>();
        let (mut a, mut b) = (fill(m * k), fill(k * n));
        a.iter_mut().enumerate().filter(|(i, _)| i / k % 3 == 1).for_each(|(_, x)| *x = -*x);
        b.iter_mut().enumerate().filter(|(i, _)| i % n % 2 == 1).for_each(|(_, x)| *x = -*x);
        let (packed, rows) = (Packed::arranged(Mat::rows(&b, n), k, n, Way::Integers), integers::Rows::new(&a, k, m));
        let want = integers::tests::product(&rows, m, n, |i, j| integer(&packed, i, j));
        for &way in Way::all().iter().filter(|way| way.shares_scales()) {
            assert_eq!(packed.product_by(m, &a, None, 1.0, way), want, "{way:?}: {m}x{n}x{k}");
        }
        for (i, want) in want.iter().enumerate() {
            let exact: f64 = (0..k).map(|x| f64::from(a[i / n * k + x]) * f64::from(b[x * n + i % n])).sum();
            assert!((f64::from(*want) - exact).abs() < 1e-3 * exact.abs(), "{want}, not {exact}");
        }
    }
}

#[test]
fn what_is_not_finite_stays_so_and_what_is_tiny_counts_as_zero() {
    for &way in Way::all() {
        let packed = Packed::arranged(Mat::rows(&[1.0; 130], 1), 130, 1, way);
        let sum = |x: f32| {
            let mut row = [1.0; 130];
            row[3] = x;
            packed.product_by(1, &row, None, 1.0, way)[0]
        };
        assert!(sum(f32::NAN).is_nan() && !sum(f32::INFINITY).is_finite(), "{way:?}");
        assert!((sum(1e37) / 1e37 - 1.0).abs() < 1e-2, "{way:?}: {}", sum(1e37));
        assert!(packed.product_by(1, &[1e-38; 130], None, 1.0, way)[0].abs() < 1e-30, "{way:?}");
        assert_eq!(packed.product_by(1, &[0.0; 130], None, 1.0, way), [0.0], "{way:?}");
        for bad in [f32::NAN, f32::INFINITY] {
            let mut b = [0.0; 130];
            b[70] = bad;
            let packed = Packed::arranged(Mat::rows(&b, 1), 130, 1, way);
            assert!(!packed.product_by(1, &[1.0; 130], None, 1.0, way)[0].is_finite(), "{way:?}: {bad}");
        }
        let none = Packed::arranged(Mat::rows(&[], 40), 0, 40, way);
        assert_eq!(none.product_by(3, &[], None, 1.0, way), [0.0; 120], "{way:?}");
    }
}

/// Zeros at either end of a panel are not met, and a panel of zeros is none.
#[test]
fn what_is_zero_throughout_is_left_out_whatever_the_way() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    for (k, filled) in [(400, 70..300), (4500, 130..4400), (128, 64..65)] {
        let (m, n) = (6, 70);
        let a: Vec<f32> = (0..m * k).map(|_| rng.random_range(-1.0..1.0)).collect();
        let is_filled = |i: usize, j: usize| filled.contains(&i) && !(32..64).contains(&j);
        let b: Vec<f32> = (0..k * n).map(|at| if is_filled(at / n, at % n) { rng.random_range(-1.0..1.0) } else { 0.0 }).collect();
        for &way in Way::all() {
            let (packed, rows) = (Packed::arranged(Mat::rows(&b, n), k, n, way), rounded_rows(&a, k, way));
            assert!(packed.used[0].start >= filled.start / LINE / 2 * 2 && packed.used[0].len() < packed.along(), "{way:?}");
            assert!(packed.used[1].is_empty(), "{way:?}");
            let (columns, got) = (numbers(&packed), packed.product_by(m, &a, None, 1.0, way));
            for (i, got) in got.iter().enumerate() {
                let want: f64 = (0..k).map(|x| f64::from(rows[i / n * k + x]) * f64::from(columns[x * n + i % n])).sum();
                assert!((f64::from(*got) - want).abs() < 1e-3, "{way:?}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn rows_are_not_rounded_to_bf16_where_that_is_asked() {
    let packed = Packed::of_fine_rows(Mat::rows(&[1.0; 70], 1), 70, 1);
    let mut row = [1.003; 70];
    row[9] = 4.0;
    let sum = packed.product(1, &row, 1.0)[0];
    assert!((sum - 73.207).abs() < 1e-2, "{sum}: in bf16 each number but one is 1, and the sum 73");
    assert_ne!(packed.way, Way::Pairs);
}

#[test]
fn a_row_comes_out_the_same_alone_and_in_a_batch() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    for (m, n, k) in [(61, 700, 576), (33, 40, 4200), (500, 70, 1500), (2, 70, 300), (3, 70, 300), (4, 70, 4200)] {
        let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
        let (a, b, base) = (fill(m * k), fill(k * n), fill(n));
        for &way in Way::all() {
            let packed = Packed::arranged(Mat::rows(&b, n), k, n, way);
            let all = packed.product_by(m, &a, Some(&base), 1.0, way);
            for r in 0..m {
                let alone = packed.product_by(1, &a[r * k..(r + 1) * k], Some(&base), 1.0, way);
                assert_eq!(alone, all[r * n..(r + 1) * n], "{way:?}, row {r}");
            }
        }
    }
}

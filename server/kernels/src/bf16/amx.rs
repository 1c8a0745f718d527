//! Tiles in the tile registers of AMX.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _mm512_loadu_ps};

use super::{COLS, Line, TILE_ROWS, Tile, avx512};

/// Rows of a register.
const REGISTER_ROWS: usize = TILE_ROWS / 2;

/// What the registers are told and what they give back.
#[repr(C, align(64))]
struct Work {
    config: Config,
    /// Sums of the upper rows of a tile, then from row 16 on those of the lower ones.
    sums: [[f32; COLS]; TILE_ROWS],
}

/// `ldtilecfg`'s argument: palette 1, then bytes a row and rows of each register.
#[repr(C)]
struct Config {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Does the CPU have AMX-TILE and AMX-BF16, and does the system let this process keep tiles?
pub(super) fn is_usable() -> bool {
    const BF16_AND_TILE: u32 = 1 << 22 | 1 << 24; // leaf 7, edx
    const REQUEST_PERMISSION: libc::c_long = 0x1023; // ARCH_REQ_XCOMP_PERM
    const TILE_DATA: libc::c_long = 18; // XFEATURE_XTILEDATA
    __cpuid_count(7, 0).edx & BF16_AND_TILE == BF16_AND_TILE
        // SAFETY: asks for a larger register file for every thread of this process; touches no memory.
        && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) } == 0
}

/// Computes the tile of `a`, depth x rows lines, and stores it at `c`, whose rows are `row` numbers apart.
///
/// SAFETY: [`is_usable`] and AVX-512; `a` holds depth x `t.rows` lines, `t.b` depth x 32, `t.rows` is 1 to 32; `t.rows` rows of
/// `t.cols` numbers at `c` are writable by this thread alone, as many at `t.old` readable.
pub(super) unsafe fn tile(t: &Tile, a: &[[Line; 2]], c: *mut f32, row: usize) {
    // SAFETY: the caller's promises.
    unsafe {
        match t.fetch {
            0 => tile_fetching::<0>(t, a, c, row),
            1 => tile_fetching::<1>(t, a, c, row),
            _ => tile_fetching::<2>(t, a, c, row),
        }
    }
}

/// Asks for some of the lines that are needed next, in between so that not all wait at once.
macro_rules! ask {
    () => {
        ".rept {fetch}\nprefetcht1 [{ahead}]\nadd {ahead}, 64\n.endr"
    };
}

/// [`tile`] for a `t.fetch`.
///
/// Registers 0 and 1 hold the sums of the upper half of the rows, 2 and 3 of the lower half, which is the upper half once more for a
/// single row; 4 and 5 have a line of A's rows, first their roundings, then the rests, 6 and 7 a line of 16 columns of B each.
///
/// SAFETY: as [`tile`].
unsafe fn tile_fetching<const FETCH: usize>(t: &Tile, a: &[[Line; 2]], c: *mut f32, row: usize) {
    let (depth, upper, lower) = (t.b.len() / COLS, t.rows.div_ceil(2), (t.rows / 2).max(1));
    let [u, l] = [upper as u8, lower as u8];
    let (mut rows, mut row_bytes) = ([0; 16], [0; 16]);
    rows[..8].copy_from_slice(&[u, u, l, l, u, l, 16, 16]);
    row_bytes[..8].fill(64);
    let config = Config { palette: 1, start: 0, reserved: [0; 14], row_bytes, rows };
    let mut work = Work { config, sums: [[0.0; COLS]; TILE_ROWS] };
    if depth > 0 {
        // SAFETY: per line along k, 128 bytes of `t.rows` rows of `a` and 16 x 128 bytes of `t.b` are read, `depth` times; `work` begins
        // with the configuration and has room for 32 rows of 128 bytes at 64. `ahead` is only hinted at. The registers are nobody
        // else's and are given up at the end.
        unsafe {
            asm!(
                "ldtilecfg [{work}]",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{upper} + {pair}]",
                "tileloadd tmm6, [{b} + {pair}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                ask!(),
                "tileloadd tmm7, [{b} + {pair} + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                ask!(),
                "tileloadd tmm5, [{lower} + {pair}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                ask!(),
                "tdpbf16ps tmm3, tmm5, tmm7",
                ask!(),
                "tileloadd tmm4, [{upper} + {pair} + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                ask!(),
                "tdpbf16ps tmm1, tmm4, tmm7",
                ask!(),
                "tileloadd tmm5, [{lower} + {pair} + 64]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                ask!(),
                "tdpbf16ps tmm3, tmm5, tmm7",
                ask!(),
                "add {upper}, {step}",
                "add {lower}, {step}",
                "add {b}, 2048",
                "dec {depth}",
                "jnz 2b",
                "tilestored [{work} + {pair} + 64], tmm0",
                "tilestored [{work} + {pair} + 128], tmm1",
                "tilestored [{work} + {pair} + 2112], tmm2",
                "tilestored [{work} + {pair} + 2176], tmm3",
                "tilerelease",
                work = in(reg) &raw mut work,
                upper = inout(reg) a.as_ptr() => _,
                lower = inout(reg) a.as_ptr().add(t.rows - lower) => _,
                b = inout(reg) t.b.as_ptr() => _,
                depth = inout(reg) depth => _,
                ahead = inout(reg) t.ahead => _,
                fetch = const 2 * FETCH, // 16 pairs a line along k, asked for in eight places
                step = in(reg) size_of::<[Line; 2]>() * t.rows,
                pair = in(reg) size_of::<[Line; 2]>(), // from one row of A, or of B's pairs, to the next
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
    // SAFETY: the caller's promise.
    unsafe { put(t, &work.sums, upper, c, row) };
}

/// Stores a tile's sums, of which `upper` rows are in the upper half.
///
/// SAFETY: AVX-512; `t.rows` rows of `t.cols` numbers at `c` are writable, as many at `t.old` readable.
#[target_feature(enable = "avx512f")]
unsafe fn put(t: &Tile, sums: &[[f32; COLS]; TILE_ROWS], upper: usize, c: *mut f32, row: usize) {
    let (high, low) = sums.split_at(REGISTER_ROWS);
    for (r, sums) in high[..upper].iter().chain(&low[..t.rows - upper]).enumerate() {
        // SAFETY: a row has 32 numbers; the caller's promise.
        unsafe { avx512::put_row(t, r, [_mm512_loadu_ps(sums.as_ptr()), _mm512_loadu_ps(sums[16..].as_ptr())], c.add(r * row)) };
    }
}

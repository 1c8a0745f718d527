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
    const REQUEST_PERMISSION: i32 = 0x1023; // ARCH_REQ_XCOMP_PERM
    const TILE_DATA: i32 = 18; // XFEATURE_XTILEDATA
    __cpuid_count(7, 0).edx & BF16_AND_TILE == BF16_AND_TILE
        // SAFETY: asks for a larger register file for every thread of this process; touches no memory.
        && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) } == 0
}

/// Computes the tile of `a`, depth x rows lines, and stores it at `c`, whose rows are `row` numbers apart.
///
/// Registers 0 and 1 hold the sums of the upper half of the rows, 2 and 3 of the lower half, which is the upper half once more for a
/// single row; 4 and 5 have a line of A's rows, 6 and 7 a line of 16 columns of B each.
///
/// SAFETY: [`is_usable`] and AVX-512; `a` holds depth x `t.rows` lines, `t.b` depth x 32, `t.rows` is 1 to 32; `t.rows` rows of
/// `t.cols` numbers at `c` are writable by this thread alone, as many at `t.old` readable.
pub(super) unsafe fn tile(t: &Tile, a: &[Line], c: *mut f32, row: usize) {
    let (depth, upper, lower) = (t.b.len() / COLS, t.rows.div_ceil(2), (t.rows / 2).max(1));
    let [u, l] = [upper as u8, lower as u8];
    let (mut rows, mut row_bytes) = ([0; 16], [0; 16]);
    rows[..8].copy_from_slice(&[u, u, l, l, u, l, 16, 16]);
    row_bytes[..8].fill(64);
    let config = Config { palette: 1, start: 0, reserved: [0; 14], row_bytes, rows };
    let mut work = Work { config, sums: [[0.0; COLS]; TILE_ROWS] };
    if depth > 0 {
        // SAFETY: per line along k, 64 bytes of `t.rows` rows of `a` and 16 x 128 bytes of `t.b` are read, `depth` times; `work` begins
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
                "tileloadd tmm4, [{upper} + {line}]",
                "tileloadd tmm6, [{b} + {pair}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {pair} + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{lower} + {line}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "lea {until}, [{ahead} + {fetch}]",
                "3:",
                "cmp {ahead}, {until}",
                "jae 4f",
                "prefetcht1 [{ahead}]",
                "add {ahead}, 64",
                "jmp 3b",
                "4:",
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
                fetch = in(reg) size_of::<Line>() * 16 * t.fetch, // 16 pairs a line along k
                until = out(reg) _,
                step = in(reg) size_of::<Line>() * t.rows,
                line = in(reg) size_of::<Line>(),
                pair = in(reg) 2 * size_of::<Line>(),
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

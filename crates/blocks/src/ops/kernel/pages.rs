//! Room on large pages: products read weights and rows from many places at a time, more than the processor keeps addresses
//! of small pages for.

/// Bytes of a large page.
const PAGE: usize = 2 << 20;
/// Fewer bytes than this are not worth one.
const FEWEST: usize = 1 << 18;

/// An empty vector with room for `capacity` elements, on large pages where the system gives these to who asks.
pub fn with_capacity<T>(capacity: usize) -> Vec<T> {
    let room = Vec::with_capacity(capacity);
    let bytes = capacity * size_of::<T>();
    if bytes >= FEWEST {
        advise(room.as_ptr() as usize, bytes);
    }
    room
}

/// Asks for large pages around `bytes` from `first` on. That changes no contents, and a system that has none may refuse.
#[allow(unsafe_code)]
fn advise(first: usize, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        let (start, end) = (first / PAGE * PAGE, (first + bytes).next_multiple_of(PAGE));
        // SAFETY: the advice leaves memory as it is, and what is not mapped alone.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (first, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_as_large_as_asked_for() {
        for count in [0, 1, FEWEST / 4 - 1, FEWEST / 4, PAGE] {
            let mut room: Vec<u32> = with_capacity(count);
            assert!(room.is_empty() && room.capacity() >= count, "{count}");
            room.extend(0..count as u32);
            assert!(room.iter().copied().eq(0..count as u32), "{count}");
        }
    }
}

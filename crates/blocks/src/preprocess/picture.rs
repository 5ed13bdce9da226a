//! Pictures in memory: a borrowed view of RGB rows, and decoding from a file.

use std::borrow::Cow;
use std::path::Path;

use image::ImageDecoder;

use crate::error::{Error, Result};

/// RGB pixels, 8 bits a channel, rows from the top, `stride` bytes from row to row.
#[derive(Debug, Clone, Copy)]
pub struct RgbView<'a> {
    width: usize,
    height: usize,
    stride: usize,
    data: &'a [u8],
}

impl<'a> RgbView<'a> {
    /// # Errors
    /// No pixels, rows shorter than the width, or fewer bytes than rows.
    pub fn new(width: usize, height: usize, stride: usize, data: &'a [u8]) -> Result<Self> {
        let needed = if height == 0 { 0 } else { (height - 1) * stride + 3 * width };
        if width == 0 || height == 0 || stride < 3 * width || data.len() < needed {
            return Err(Error::Unsupported(format!(
                "a picture of {width}x{height} with {stride} bytes a row in {} bytes, expected at least 1x1, {} bytes a row and {needed} bytes",
                data.len(),
                3 * width
            )));
        }
        Ok(Self { width, height, stride, data })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The pixels without gaps between rows; borrowed where there are none.
    pub fn packed(&self) -> Cow<'a, [u8]> {
        let row = 3 * self.width;
        if self.stride == row {
            return Cow::Borrowed(&self.data[..row * self.height]);
        }
        Cow::Owned(self.data.chunks(self.stride).take(self.height).flat_map(|r| &r[..row]).copied().collect())
    }
}

/// A decoded picture, upright, RGB.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `3 * width * height` bytes.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// Reads a PNG, JPEG, BMP, WebP, TIFF or GIF file (of those that move, the first picture); the format is told by its content. The orientation that a camera noted
    /// (EXIF) is applied, transparency is dropped.
    ///
    /// # Errors
    /// The file cannot be read, is empty, of an unknown format, truncated or damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::Picture { path: path.to_path_buf(), reason };
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        if bytes.is_empty() {
            return Err(fail("is empty (0 bytes)".into()));
        }
        let readable = [
            image::ImageFormat::Png,
            image::ImageFormat::Jpeg,
            image::ImageFormat::Bmp,
            image::ImageFormat::WebP,
            image::ImageFormat::Tiff,
            image::ImageFormat::Gif,
        ];
        let format = image::guess_format(&bytes).ok().filter(|format| readable.contains(format));
        let format =
            format.ok_or_else(|| fail("is of no known format, expected PNG, JPEG, BMP, WebP, TIFF or GIF".into()))?;
        if format == image::ImageFormat::Jpeg && !jpeg_ends(&bytes) {
            return Err(fail("is truncated: a JPEG without its end".into()));
        }
        let reader = image::ImageReader::with_format(std::io::Cursor::new(&bytes), format);
        let decode = || -> image::ImageResult<image::DynamicImage> {
            let mut decoder = reader.into_decoder()?;
            let orientation = decoder.orientation()?;
            let mut picture = image::DynamicImage::from_decoder(decoder)?;
            picture.apply_orientation(orientation);
            Ok(picture)
        };
        let rgb = decode().map_err(|e| fail(format!("cannot be decoded (truncated or damaged?): {e}")))?.into_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        Ok(Self { width, height, rgb: rgb.into_raw() })
    }

    /// The pixels.
    ///
    /// # Errors
    /// The picture has none.
    pub fn view(&self) -> Result<RgbView<'_>> {
        RgbView::new(self.width, self.height, 3 * self.width, &self.rgb)
    }
}

/// Whether a JPEG's scans run up to its end marker. Decoders fill what a truncated file lacks with grey and say nothing.
fn jpeg_ends(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    const SCAN: u8 = 0xda;
    let mut at = 2;
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2) {
        match marker {
            END => return true,
            // Fill bytes before a marker.
            0xff => at += 1,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
                if marker == SCAN {
                    // Compressed data: 0xff is followed by 0 or by a restart marker until the next segment.
                    let inside = |pair: &[u8]| pair[0] != 0xff || matches!(pair[1], 0 | 0xd0..=0xd7);
                    let rest = bytes.get(at..).unwrap_or_default();
                    at += rest.windows(2).position(|pair| !inside(pair)).unwrap_or(rest.len());
                }
            }
        }
    }
    false
}

//! Height of the sun over a place.
//!
//! Geometric, without refraction; good to about 0.02 degrees between 1950 and 2050, far below what a slot can tell.

use crate::{domain::site::Site, slot::TimeMs};

const DAY_MS: i64 = 86_400_000;
/// Days from the Unix epoch to 2000-01-01T12:00Z.
const DAYS_TO_J2000: f64 = 10_957.5;

/// Where on Earth, and by which civil time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Latitude in millionths of a degree, north positive.
    pub latitude_microdegrees: i32,
    /// Longitude in millionths of a degree, east positive.
    pub longitude_microdegrees: i32,
    /// Civil time minus UTC in minutes.
    pub utc_offset_minutes: i32,
}

impl Place {
    /// Where the site is.
    #[must_use]
    pub fn of(site: &Site) -> Self {
        Self {
            latitude_microdegrees: site.latitude_microdegrees,
            longitude_microdegrees: site.longitude_microdegrees,
            utc_offset_minutes: site.utc_offset_minutes,
        }
    }

    fn latitude_radians(self) -> f64 {
        (f64::from(self.latitude_microdegrees) / 1e6).to_radians()
    }
}

/// Sine of the sun's elevation: 0 at the horizon, 1 overhead, negative at night.
///
/// The sun's position is the low-precision formula of the Astronomical Almanac (section C, as the US Naval Observatory
/// prints it under "Approximate Solar Coordinates"); sidereal time is its linear part.
#[must_use]
pub fn sine_elevation(place: Place, time: TimeMs) -> f64 {
    let days = days_since_j2000(time);
    let [x, y, z] = direction(days);
    let longitude = f64::from(place.longitude_microdegrees) / 1e6;
    let sidereal = (280.460_618 + 360.985_647_366 * days + longitude).to_radians();
    let (lat_sin, lat_cos) = place.latitude_radians().sin_cos();
    let (sidereal_sin, sidereal_cos) = sidereal.sin_cos();
    lat_cos * (x * sidereal_cos + y * sidereal_sin) + lat_sin * z
}

/// Mean over the day around the moment of the sine of the elevation, taken as 0 while the sun is down.
///
/// The integral of `sin(lat) sin(dec) + cos(lat) cos(dec) cos(hour angle)` from sunrise to sunset over 2 pi, with the
/// declination held for the day.
#[must_use]
pub fn mean_day_sine(place: Place, noon: TimeMs) -> f64 {
    let [_, _, dec_sin] = direction(days_since_j2000(noon));
    let dec_cos = (1.0 - dec_sin * dec_sin).max(0.0).sqrt();
    let (lat_sin, lat_cos) = place.latitude_radians().sin_cos();
    let (constant, swing) = (lat_sin * dec_sin, lat_cos * dec_cos);
    if swing < 1e-9 {
        return constant.max(0.0);
    }
    let half_day = (-constant / swing).clamp(-1.0, 1.0).acos();
    let mean = (constant * half_day + swing * half_day.sin()) / std::f64::consts::PI;
    mean.max(0.0)
}

fn days_since_j2000(time: TimeMs) -> f64 {
    let day = i32::try_from(time.0.div_euclid(DAY_MS)).unwrap_or(i32::MAX);
    let ms = i32::try_from(time.0.rem_euclid(DAY_MS)).unwrap_or(0);
    f64::from(day) - DAYS_TO_J2000 + f64::from(ms) / 86_400_000.0
}

/// Unit vector to the sun in equatorial coordinates; its last part is the sine of the declination.
fn direction(days: f64) -> [f64; 3] {
    let anomaly = (357.529 + 0.985_600_28 * days).to_radians();
    let mean_longitude = 280.459 + 0.985_647_36 * days;
    let correction = 1.915 * anomaly.sin() + 0.020 * (2.0 * anomaly).sin();
    let (longitude_sin, longitude_cos) = (mean_longitude + correction).to_radians().sin_cos();
    let (tilt_sin, tilt_cos) = (23.439 - 0.000_000_36 * days).to_radians().sin_cos();
    [
        longitude_cos,
        tilt_cos * longitude_sin,
        tilt_sin * longitude_sin,
    ]
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::fixtures::KUNMING;

    fn place(latitude_microdegrees: i32, longitude_microdegrees: i32) -> Place {
        Place {
            latitude_microdegrees,
            longitude_microdegrees,
            utc_offset_minutes: 0,
        }
    }

    fn at(text: &str) -> TimeMs {
        let time: jiff::Timestamp = text.parse().unwrap();
        TimeMs(time.as_millisecond())
    }

    fn elevation(place: Place, time: TimeMs) -> f64 {
        sine_elevation(place, time).asin().to_degrees()
    }

    #[track_caller]
    fn check(place: Place, time: &str, expected_degrees: f64) {
        let degrees = elevation(place, at(time));
        assert!(
            (degrees - expected_degrees).abs() < 0.05,
            "{degrees} instead of {expected_degrees} at {time}"
        );
    }

    /// Expected values: the `XEphem` library (ephem 4.2.1) without refraction.
    #[test]
    fn elevations_agree_with_an_ephemeris() {
        let sydney = place(-33_870_000, 151_210_000);
        let tromso = place(69_650_000, 18_960_000);
        check(KUNMING, "2025-06-21T05:00:00Z", 87.034);
        check(KUNMING, "2025-06-21T23:00:00Z", 7.353);
        check(KUNMING, "2025-12-21T05:00:00Z", 41.489);
        check(KUNMING, "2025-12-21T10:30:00Z", -1.929);
        check(KUNMING, "2025-03-20T05:00:00Z", 64.573);
        check(KUNMING, "2025-09-22T18:00:00Z", -61.263);
        check(KUNMING, "2030-02-01T03:00:00Z", 35.376);
        check(sydney, "2025-12-21T05:00:00Z", 48.082);
        check(sydney, "2025-06-21T23:00:00Z", 18.888);
        check(tromso, "2025-06-21T23:00:00Z", 3.117);
        check(tromso, "2025-12-21T10:30:00Z", -3.117);
    }

    /// Noon elevation is 90 degrees minus latitude plus declination, which is 23.44 at the solstices and 0 at equinoxes.
    #[test]
    fn noon_of_solstice_and_equinox_is_as_high_as_geometry_says() {
        for (day, expected) in [
            ("2025-06-21T00:00:00Z", 90.0 - 25.04 + 23.44),
            ("2025-12-21T00:00:00Z", 90.0 - 25.04 - 23.44),
            ("2025-03-20T00:00:00Z", 90.0 - 25.04),
        ] {
            let highest = (0..1_440)
                .map(|minute| elevation(KUNMING, at(day).plus_ms(minute * 60_000)))
                .fold(f64::MIN, f64::max);
            assert!((highest - expected).abs() < 0.2, "{highest} on {day}");
        }
    }

    #[test]
    fn the_mean_of_a_day_is_the_mean_of_its_minutes() {
        for (latitude, day) in [
            (25_040_000, "2025-06-21T00:00:00Z"),
            (25_040_000, "2025-12-21T00:00:00Z"),
            (-60_000_000, "2025-06-21T00:00:00Z"),
            (80_000_000, "2025-06-21T00:00:00Z"),
            (80_000_000, "2025-12-21T00:00:00Z"),
            (90_000_000, "2025-06-21T00:00:00Z"),
        ] {
            let place = place(latitude, 0);
            let sum: f64 = (0..1_440)
                .map(|minute| sine_elevation(place, at(day).plus_ms(minute * 60_000)).max(0.0))
                .sum();
            let mean = mean_day_sine(place, at(day).plus_ms(DAY_MS / 2));
            assert!(
                (mean - sum / 1_440.0).abs() < 0.001,
                "{mean} at {latitude} on {day}"
            );
        }
    }
}

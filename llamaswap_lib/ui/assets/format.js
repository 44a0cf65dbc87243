/** How numbers, times and sizes are written: the same everywhere. What is unknown is a dash, never 0. */

export const UNKNOWN = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const exactTime = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const clockOfDay = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** @param {unknown} value @returns {value is number} */
const known = (value) => typeof value === "number" && Number.isFinite(value);

/** `12,345` @param {unknown} value */
export const count = (value) => (known(value) && value >= 0 ? whole.format(value) : UNKNOWN);

/** Bytes as `13.9 GB` (1 GB is 1000³ bytes, as disks and drivers write it). @param {unknown} value */
export function bytes(value) {
  if (!known(value) || value < 0) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [size, unit] = [value, 0];
  while (size >= 999.95 && unit < units.length - 1) [size, unit] = [size / 1000, unit + 1];
  return `${(unit && size < 100 ? tenth : whole).format(size)} ${units[unit]}`;
}

const [MB, GB] = [1024 ** 2, 1024 ** 3];
const oneTenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** Memory that models go by, as the server's own sentences write it: `6.2 GB`, `320 MB` (1 GB is 1024³ bytes). @param {unknown} value */
export function memorySize(value) {
  if (!known(value) || value < 0) return UNKNOWN;
  return value >= GB ? `${oneTenth.format(value / GB)} GB` : `${whole.format(value / MB)} MB`;
}

/** Milliseconds as `12 ms`, `1.2 s`, `3 min 4 s`, `2 h 5 min`, `3 d 2 h`. @param {unknown} value */
export function duration(value) {
  if (!known(value) || value < 0) return UNKNOWN;
  if (value < 1000) return `${Math.round(value)} ms`;
  const seconds = value / 1000;
  if (seconds < 9.95) return `${tenth.format(seconds)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  const left = Math.floor(seconds % 60);
  if (minutes < 60) return left ? `${minutes} min ${left} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

/** The same of seconds. @param {unknown} value */
export const seconds = (value) => duration(known(value) ? value * 1000 : null);

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** A number where there is little room: `25,458`, `254.6K`. @param {unknown} value */
export const shortCount = (value) => (known(value) && value >= 100_000 ? compact.format(value) : count(value));

/** Tokens a second: `94`, `9.4`, `12.5K`. @param {unknown} value */
export function speed(value) {
  if (!known(value) || value <= 0) return UNKNOWN;
  return (value < 100 ? tenth : value < 10_000 ? whole : compact).format(value);
}

/** `71 %` @param {unknown} value of 100 */
export const percent = (value) => (known(value) ? `${whole.format(value)} %` : UNKNOWN);

/** The moment in full, for a tooltip. @param {string | number | Date} moment */
export function exact(moment) {
  const date = new Date(moment);
  return Number.isNaN(date.getTime()) ? UNKNOWN : exactTime.format(date);
}

/** `14:03:07` @param {string | number | Date} moment */
export function timeOfDay(moment) {
  const date = new Date(moment);
  return Number.isNaN(date.getTime()) ? UNKNOWN : clock.format(date);
}

/** `14:03` @param {string | number | Date} moment */
export const hourAndMinute = (moment) => clockOfDay.format(new Date(moment));

/** `4 s ago`, `in 3 min` @param {string | number | Date} moment @param {number} [now] */
export function relative(moment, now = Date.now()) {
  const away = new Date(moment).getTime() - now;
  if (Number.isNaN(away)) return UNKNOWN;
  const size = Math.abs(away);
  if (size < 1500) return "now";
  return away < 0 ? `${age(size)} ago` : `in ${age(size)}`;
}

/** `4 s`, `3 min`, `2 h` @param {number} size in milliseconds */
export const age = (size) =>
  duration(
    size < 60_000
      ? Math.max(1, Math.round(size / 1000)) * 1000
      : size < 3_600_000
        ? size - (size % 60_000)
        : size - (size % 3_600_000),
  );

/** `1 request`, `3 requests` @param {number} number @param {string} noun @param {string} [many] */
export const several = (number, noun, many = `${noun}s`) => `${whole.format(number)} ${number === 1 ? noun : many}`;

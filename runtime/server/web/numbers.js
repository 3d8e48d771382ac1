// Numbers for people.

const kWhole = new Intl.NumberFormat('en');

export const count = (n) => kWhole.format(Math.round(n));

export function tokens(n) {
  return `${count(n)} ${Math.round(n) === 1 ? 'token' : 'tokens'}`;
}

// 1.5 GB, as disks count them.
export function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  for (; n >= 999.5 && i + 1 < units.length; i++) n /= 1000;
  return `${i === 0 || n >= 99.5 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

// 0.4 s, 12 s, 3 min 20 s, 2 h 5 min
export function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
}

export function speed(tokensPerSecond) {
  return `${tokensPerSecond >= 99.5 ? Math.round(tokensPerSecond) : tokensPerSecond.toFixed(1)} tok/s`;
}

export const percent = (share) => `${Math.round(100 * share)} %`;

// How far the reading of a prompt is, from the server's prompt_progress {total, cache, processed, time_ms}.
//   share: 0 to 1, what was found in the cache counting as read;  left: seconds, or null while nothing can be said
export function readingProgress({total, cache, processed, time_ms}) {
  const read = processed - cache, seconds = time_ms / 1000;
  const left = read > 0 && seconds > 0.2 ? (total - processed) * seconds / read : null;
  return {share: total > 0 ? processed / total : 1, left, total, processed, cached: cache};
}

export function readingText({left, total, processed}) {
  const rest = left === null || processed >= total ? '' : `, ${duration(left)} left`;
  return `Reading: ${count(processed)} of ${tokens(total)}${rest}`;
}

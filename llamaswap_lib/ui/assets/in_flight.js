/** Requests in progress, as the events `inflight` tell of them; in pages and in workers. */

/**
 * @typedef {{ id: string, timestamp: string, model: string, req_path: string, method: string, req_headers: Record<string, string>,
 *   remote_ip: string, resp_headers: Record<string, string>, resp_bytes: number, elapsed_ms: number, metadata?: any }} InFlight
 * @typedef {InFlight & { seen: number }} Seen `seen`: when it was told, in milliseconds since 1970
 */

/**
 * What there is after an event. @param {Map<string, Seen>} known by id; it stays as it is @param {any} change the event's data
 * @returns {Map<string, Seen>}
 */
export function changed(known, change) {
  const seen = Date.now();
  const next = change.operation === "snapshot" ? new Map() : new Map(known);
  for (const request of change.requests ?? []) next.set(request.id, { ...request, seen });
  if (change.operation === "upsert") next.set(change.request.id, { ...change.request, seen });
  if (change.operation === "remove") next.delete(change.id);
  return next;
}

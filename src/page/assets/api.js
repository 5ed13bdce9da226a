// Everything that the page knows, it knows by /api/v1.

const ROOT = '/api/v1';

/** Called where a password is asked for; resolves once somebody has said it. */
let askPassword = async () => {};

export function onPassword(ask) {
  askPassword = ask;
}

/** An answer that is none: `message` says why. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** An address below the API; parts of it may hold anything. */
export function address(...parts) {
  return [ROOT, ...parts.map(encodeURIComponent)].join('/');
}

async function call(method, url, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  const response = await fetch(url, options);
  if (response.status === 401 && !url.endsWith('/session')) {
    await askPassword();
    return call(method, url, body);
  }
  const text = await response.text();
  const answer = text ? JSON.parse(text) : null;
  if (!response.ok) {
    throw new ApiError(response.status, answer?.error ?? `${response.status} ${response.statusText}`);
  }
  return answer;
}

export const get = (...parts) => call('GET', address(...parts));
/** With parameters behind the question mark. */
export const getWith = (parameters, ...parts) => call('GET', `${address(...parts)}?${new URLSearchParams(parameters)}`);
export const post = (body, ...parts) => call('POST', address(...parts), body);
export const put = (body, ...parts) => call('PUT', address(...parts), body);
export const patch = (body, ...parts) => call('PATCH', address(...parts), body);

export function remove(parameters, ...parts) {
  const query = new URLSearchParams(parameters).toString();
  return call('DELETE', address(...parts) + (query && `?${query}`));
}

/** The address of a stream's socket. */
export function socketAddress(stream, video) {
  const url = new URL(address('streams', stream, 'live'), location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  url.searchParams.set('video', video);
  return url;
}

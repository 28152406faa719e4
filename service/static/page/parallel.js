// Several requests at once, but not too many; and changes that are sure to be known.
import * as api from "./api.js";

const AT_ONCE = 4;
const REASONS = {
  404: "was deleted by somebody else meanwhile",
  412: "was changed by somebody else meanwhile",
};

// Does `work` for each item; resolves with [{item, failure}] of those that failed.
export async function inParallel(items, work, isStopped = () => false) {
  const queue = [...items];
  const failures = [];
  const worker = async () => {
    while (queue.length && !isStopped()) {
      const item = queue.shift();
      await work(item).catch((failure) => failures.push({ item, failure }));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return failures;
}

export const reasonOf = (failure) => REASONS[failure.status] ?? failure.message;

export const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// Changes members. An answer may be lost, and the browser may have sent the request again: so it
// looks whether it was done.
export async function surely(product, members, etag) {
  try {
    return await api.change(product.id, members, etag);
  } catch (failure) {
    const isUnknown = failure.status === 0 || failure.status === 412 || failure.status >= 500;
    const there = isUnknown && (await api.get(product.id).catch(() => null));
    if (there && isSame(there.body, { ...product, ...members })) {
      return there;
    }
    throw failure;
  }
}

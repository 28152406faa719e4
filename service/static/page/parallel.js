// Several requests at once, but not too many; and changes that are sure to be known.
import * as api from "./api.js";
import { isSame } from "./members.js";

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

// Does a write. Its answer may be lost, and the browser may have sent the request again: so it looks
// whether it was done. `wanted` is the product then, null if it is deleted.
export async function surely(write, id, wanted) {
  try {
    return await write();
  } catch (failure) {
    const isUnknown = [0, 404, 412].includes(failure.status) || failure.status >= 500;
    const there = isUnknown && (await api.get(id).catch(absence));
    if (there && isSame(there.body, wanted)) {
      return there;
    }
    throw failure;
  }
}

const absence = ({ status }) => (status === 404 ? { body: null, etag: null } : null);

// Changes members of a product.
export function changeSurely(product, members, etag, request) {
  const change = () => api.change(product.id, members, etag, request);
  return surely(change, product.id, { ...product, ...members });
}

// @ts-check
// Verifies a receipt with the keys of the ledger alone. Shares no code with the service: ML-DSA-65 is that of
// @noble/post-quantum, SHA-256 that of the platform. Nothing leaves the page.
import { ml_dsa65 } from "@noble/post-quantum/ml-dsa.js";

const CONTENT_TYPE = "application/vnd.portal.receipt+cbor";
const text = new TextEncoder();

/** @param {boolean} holds @param {string} problem */
function need(holds, problem) {
  if (!holds) throw new Error(problem);
}

/** @param {...Uint8Array} parts */
function concat(...parts) {
  const out = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** @param {...Uint8Array} parts */
async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", concat(...parts)));
}

/** @param {Uint8Array} a @param {Uint8Array} b */
const equal = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

/** @param {string} encoded Base64 with either alphabet, padded or not. */
function unbase64(encoded) {
  return Uint8Array.from(atob(encoded.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

/** @param {number} major @param {number} argument */
function head(major, argument) {
  if (argument < 24) return Uint8Array.of((major << 5) | argument);
  if (argument < 0x100) return Uint8Array.of((major << 5) | 24, argument);
  return Uint8Array.of((major << 5) | 25, argument >> 8, argument & 0xff);
}

/** @param {Uint8Array} bytes */
const bstr = (bytes) => concat(head(2, bytes.length), bytes);

/**
 * The one item that `bytes` are, in the deterministic encoding of CBOR: numbers, strings, arrays, maps (as Map), tags.
 * @param {Uint8Array} bytes
 * @returns {any}
 */
export function decode(bytes) {
  let at = 0;
  const take = (/** @type {number} */ length) => {
    need(length <= bytes.length - at, "the encoding is cut");
    at += length;
    return bytes.subarray(at - length, at);
  };
  const argument = (/** @type {number} */ short) => {
    if (short < 24) return short;
    need(short < 28, "the encoding is not the deterministic one");
    const number = take(1 << (short - 24)).reduce((number, byte) => number * 256 + byte, 0);
    const least = [24, 0x100, 0x10000, 0x100000000][short - 24] ?? 0;
    need(number >= least && Number.isSafeInteger(number), "the encoding is not the deterministic one");
    return number;
  };
  const item = (/** @type {number} */ depth) => {
    need(depth < 16, "the encoding is too deep");
    const first = take(1)[0] ?? 0;
    if (first === 0xf6) return null;
    if (first === 0xf4 || first === 0xf5) return first === 0xf5;
    const number = argument(first & 0x1f);
    switch (first >> 5) {
      case 0:
        return number;
      case 1:
        return -1 - number;
      case 2:
        return take(number);
      case 3:
        return new TextDecoder("utf-8", { fatal: true }).decode(take(number));
      case 4: {
        const items = [];
        for (let nth = 0; nth < number; nth++) items.push(item(depth + 1));
        return items;
      }
      case 5: {
        const map = new Map();
        for (let nth = 0; nth < number; nth++) {
          const key = item(depth + 1);
          need(!map.has(key), "a member stands twice");
          map.set(key, item(depth + 1));
        }
        return map;
      }
      case 6:
        return { tag: number, value: item(depth + 1) };
      default:
        throw new Error("the encoding is not one of a receipt");
    }
  };
  const value = item(0);
  need(at === bytes.length, "something follows the encoding");
  return value;
}

/**
 * The keys of ML-DSA-65 with their ids: the SHA-256 of the COSE key {1: AKP, 3: ML-DSA-65, -1: public}.
 * @param {any} file The answer of GetLedgerKeys, or a JWK set.
 */
async function loadKeys(file) {
  const keys = [];
  for (const key of file.keys) {
    if (!["ML-DSA-65", "LEDGER_KEY_ALGORITHM_ML_DSA_65"].includes(key.alg ?? key.algorithm)) continue;
    const bytes = unbase64(key.pub ?? key.publicKey);
    const cose = concat(Uint8Array.of(0xa3, 1, 7, 3, 0x38, 48, 0x20), bstr(bytes));
    keys.push({ id: await sha256(cose), bytes });
  }
  need(keys.length > 0, "there is no key of ML-DSA-65");
  return keys;
}

/**
 * COSE_Sign1 (RFC 9052, section 4.4) with ML-DSA-65 (RFC 9964).
 * @param {Uint8Array} header @param {Uint8Array} payload @param {Uint8Array} signature
 * @param {{id: Uint8Array, bytes: Uint8Array}[]} keys
 */
function checkSignature(header, payload, signature, keys) {
  const members = decode(header);
  need(members.get(1) === -49, "the algorithm is not ML-DSA-65");
  const key = keys.find(({ id }) => equal(id, members.get(4)));
  if (!key) throw new Error("it is signed by none of the keys");
  const context = concat(head(3, 10), text.encode("Signature1"));
  const signed = concat(head(4, 4), context, bstr(header), bstr(new Uint8Array()), bstr(payload));
  need(ml_dsa65.verify(signature, signed, key.bytes), "the signature is wrong");
  return members;
}

/**
 * RFC 9162, section 2.1.3.2.
 * @param {Uint8Array} leaf @param {number} index @param {number} size @param {Uint8Array[]} path
 */
async function rootOf(leaf, index, size, path) {
  need(index < size, "the leaf is beyond the tree");
  const half = (/** @type {number} */ number) => Math.floor(number / 2);
  let [node, last, root] = [index, size - 1, leaf];
  for (const sibling of path) {
    need(last > 0, "the path is too long");
    if (node % 2 === 1 || node === last) {
      root = await sha256(Uint8Array.of(1), sibling, root);
      while (node % 2 === 0 && node !== 0) [node, last] = [half(node), half(last)];
    } else {
      root = await sha256(Uint8Array.of(1), root, sibling);
    }
    [node, last] = [half(node), half(last)];
  }
  need(last === 0, "the path is too short");
  return root;
}

/** @param {string} encoded */
function sign1(encoded) {
  const { tag, value } = decode(unbase64(encoded));
  need(tag === 18 && value.length === 4, "it is no COSE_Sign1");
  return value;
}

/**
 * What a receipt comes to, in a sentence; throws an Error that says what is wrong.
 * @param {any} receipt The answer of GetReceipt.
 * @param {any} keyFile The answer of GetLedgerKeys, or a JWK set.
 */
export async function verify(receipt, keyFile) {
  const keys = await loadKeys(keyFile);
  const [header, , payload, signature] = sign1(receipt.cose);
  const type = checkSignature(header, payload, signature, keys).get(3);
  need(type === CONTENT_TYPE, "it is signed, but as something else");
  const [version, salt, record] = decode(payload);
  need(version === 1 && salt.length === 32, "the payload is of another version");
  if (!receipt.inclusion) return "valid; it came without a proof of its place in the ledger";
  const kind = text.encode("consent.event");
  const domain = text.encode("portal/ledger-leaf/v1\0");
  const commitment = await sha256(domain, salt, Uint8Array.of(0, 0, 0, kind.length), kind, record);
  const leaf = await sha256(Uint8Array.of(0), commitment);
  const [place, proofs, nothing, seal] = sign1(receipt.inclusion);
  const [size, index, path] = decode(proofs.get(396).get(-1)[0]);
  need(nothing === null && decode(place).get(395) === 1, "it is no receipt of inclusion (RFC 9942)");
  checkSignature(place, await rootOf(leaf, index, size, path), seal, keys);
  return `valid; entry ${index} of a ledger of ${size}`;
}

// Verifies JSON Web Tokens (RFC 7519) signed with HS256, for jwt.conf. Everything that is not exactly as wanted is refused: another
// algorithm ("none" among them), an extension (crit), a token without expiry, a subject that could not be a header's value.
import crypto from 'crypto';

const MAX_LENGTH = 4096;
const PART = /^[A-Za-z0-9_-]+$/;
const SUBJECT = /^[A-Za-z0-9._@:\/-]{1,128}$/;

// subject returns the subject of the request's token, "" if that is not valid.
function subject(r) {
    try {
        return verify(r.headersIn['Authorization'], r.variables.jwt_secret, r.variables.jwt_audience, Date.now() / 1000);
    } catch (e) { // not JSON, for example
        return '';
    }
}

function verify(authorization, secret, audience, now) {
    const found = /^[Bb]earer ([^ ]+)$/.exec(authorization || '');
    if (!found || found[1].length > MAX_LENGTH || !secret || secret.length < 32) {
        return '';
    }
    const parts = found[1].split('.');
    if (parts.length !== 3 || !parts.every(p => PART.test(p))) {
        return '';
    }
    const header = decode(parts[0]);
    if (header.alg !== 'HS256' || header.crit !== undefined) {
        return '';
    }
    const want = crypto.createHmac('sha256', secret).update(parts[0] + '.' + parts[1]).digest('base64url');
    if (!same(want, parts[2])) {
        return '';
    }
    const claims = decode(parts[1]);
    const audiences = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
    if (!number(claims.exp) || now >= claims.exp || claims.nbf !== undefined && !(number(claims.nbf) && now >= claims.nbf)) {
        return '';
    }
    if (!audiences.some(a => a === audience) || typeof claims.sub !== 'string' || !SUBJECT.test(claims.sub)) {
        return '';
    }
    return claims.sub;
}

function number(v) {
    return typeof v === 'number' && isFinite(v);
}

// decode returns the JSON object that a part has.
function decode(part) {
    const value = JSON.parse(Buffer.from(part, 'base64url').toString());
    if (value === null || typeof value !== 'object' || Array.isArray(value)) {
        throw new Error('no object');
    }
    return value;
}

// same compares in a time that does not depend on where the two differ.
function same(a, b) {
    let difference = a.length ^ b.length;
    for (let i = 0; i < a.length; i++) {
        difference |= a.charCodeAt(i) ^ b.charCodeAt(i % b.length);
    }
    return difference === 0;
}

export default { subject };

// The certified oidc-provider on a loopback port of its own, for tests/real/oidc_provider.py.
//
// In: one JSON object, the configuration, in the environment variable PROVIDER; then commands on
// standard input, one JSON object a line: {"id": 1, "token_delay_ms": 500}. Without a setting a
// command changes nothing: its answer says that every event before it has been written.
// Out: one JSON object a line for what the provider saw, never a token or a code:
//   ready(issuer, address)  done(id)  login(subject)  authorization(subject, ok, error)
//   grant(grant_type, subject, grant_id, ok, error, description)  grant_revoked(grant_id)
//   revocation(ok, error)  end_session(subject)  backchannel_logout(subject, ok, error)
//   server_error(error)
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { Provider } from 'oidc-provider';

const settings = JSON.parse(process.env.PROVIDER);
let tokenDelay = settings.token_delay_ms;

// The provider warns here that its login forms are for development: standard output is ours.
console.info = () => {};
console.warn = () => {};

function report(event, fields) {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: 'test', use: 'sig', alg: 'RS256' };
}

function configuration() {
  const seconds = settings.id_token_seconds;
  return {
    clients: [{
      client_id: settings.client_id,
      client_secret: settings.client_secret,
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: settings.redirect_uris,
      post_logout_redirect_uris: settings.post_logout_redirect_uris,
      ...(settings.backchannel_logout_uri && {
        backchannel_logout_uri: settings.backchannel_logout_uri,
        backchannel_logout_session_required: true,
      }),
      ...settings.client,
    }].map((client) => Object.fromEntries(
      Object.entries(client).filter(([, value]) => value !== null),
    )),
    findAccount: (ctx, id) => ({
      accountId: id,
      claims: () => ({
        sub: id, name: id, email: `${id}@example.org`, email_verified: true, groups: ['admins'],
      }),
    }),
    claims: {
      openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], groups: ['groups'],
    },
    // Argo CD reads groups and e-mail from the ID token, as most providers put them there.
    conformIdTokenClaims: false,
    scopes: ['openid', 'offline_access', 'profile', 'email', 'groups'],
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ttl: {
      IdToken: seconds,
      AccessToken: seconds,
      RefreshToken: settings.refresh_token_seconds,
      AuthorizationCode: 60,
      Grant: 86400,
      Interaction: 600,
      Session: 86400,
    },
    features: {
      backchannelLogout: { enabled: true },
      devInteractions: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      // Access tokens for a resource are JWTs (RFC 8707, RFC 9068); all others stay opaque.
      ...(settings.resource && {
        clientCredentials: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: () => ({
            scope: 'deploy',
            audience: settings.resource,
            accessTokenFormat: 'jwt',
            accessTokenTTL: seconds,
            jwt: { sign: { alg: 'RS256' } },
          }),
        },
      }),
    },
    // Without the provider's own guard, which lets no back-channel logout go to a loopback address.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    jwks: { keys: [signingKey()] },
    cookies: { keys: [randomBytes(16).toString('hex')] },
  };
}

function observe(provider) {
  const subject = (ctx) => ctx.oidc.entities.Account?.accountId ?? ctx.oidc.session?.accountId;
  const failure = (error) => ({
    ok: false, error: error.error ?? String(error), description: error.error_description,
  });
  const grant = (ctx) => ({
    grant_type: ctx.oidc.params?.grant_type,
    subject: subject(ctx),
    grant_id: ctx.oidc.entities.Grant?.jti,
  });

  provider.on('interaction.ended', (ctx) => {
    const { login, consent } = ctx.oidc.result ?? {};
    // A consent's result repeats the login's.
    if (login && !consent) report('login', { subject: login.accountId });
  });
  provider.on('authorization.success', (ctx) => {
    report('authorization', { subject: subject(ctx), ok: true });
  });
  provider.on('authorization.error', (ctx, error) => report('authorization', failure(error)));
  provider.on('grant.success', (ctx) => report('grant', { ...grant(ctx), ok: true }));
  provider.on('grant.error', (ctx, error) => report('grant', { ...grant(ctx), ...failure(error) }));
  provider.on('grant.revoked', (ctx, grantId) => report('grant_revoked', { grant_id: grantId }));
  provider.on('revocation.error', (ctx, error) => report('revocation', failure(error)));
  provider.on('end_session.success', (ctx) => report('end_session', { subject: subject(ctx) }));
  provider.on('backchannel.success', (ctx, client, accountId) => {
    report('backchannel_logout', { subject: accountId, ok: true });
  });
  provider.on('backchannel.error', (ctx, error, client, accountId) => {
    report('backchannel_logout', { subject: accountId, ...failure(error) });
  });
  provider.on('server_error', (ctx, error) => report('server_error', { error: String(error) }));

  provider.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route === 'revocation' && ctx.status === 200) report('revocation', { ok: true });
    // By now the refresh token has been rotated and the event written: only the answer waits.
    if (ctx.oidc?.route === 'token') await sleep(tokenDelay);
  });
}

// Under a path, as Keycloak's issuers are; `originalUrl` tells the provider what was cut off.
function mounted(path, callback) {
  return (request, response) => {
    if (!request.url.startsWith(path)) {
      response.writeHead(404).end();
      return;
    }
    request.originalUrl = request.url;
    request.url = request.url.slice(path.length) || '/';
    callback(request, response);
  };
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const address = `http://127.0.0.1:${server.address().port}${settings.issuer_path}`;
  const issuer = settings.issuer || address;
  const provider = new Provider(issuer, configuration());
  observe(provider);
  server.on('request', mounted(settings.issuer_path, provider.callback()));
  report('ready', { issuer, address });
});

// Whoever started us holds our standard input: when they go, however they die, so do we.
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line);
    tokenDelay = command.token_delay_ms ?? tokenDelay;
    report('done', { id: command.id });
  })
  .on('close', () => process.exit(0));

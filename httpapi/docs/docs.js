// The API page: Swagger UI on Carelog's OpenAPI document. Whoever tries to log in there
// is logged in: the access token of the answer goes with what is tried afterwards. It is
// kept in the browser's local storage, and ends after some minutes; the refresh token is
// kept nowhere.
'use strict';

const session = document.getElementById('session');
let ui;

fetch('/api/openapi.json')
	.then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(answer.status))))
	.then(show, () => { session.textContent = 'The OpenAPI document cannot be loaded: try again later.'; });

// The description is long: who knows it goes on to what can be tried.
document.getElementById('endpoints').addEventListener('click', (click) => {
	click.preventDefault();
	document.querySelector('.opblock-tag-section')?.scrollIntoView();
});

function show(spec) {
	leaveOutEverywhere(spec);
	forEachParameter(spec, tellExamples);
	ui = SwaggerUIBundle({
		spec,
		domNode: document.getElementById('api'),
		deepLinking: true,
		displayRequestDuration: true,
		tryItOutEnabled: true,
		persistAuthorization: true,
		validatorUrl: null, // nothing is sent to others
		defaultModelsExpandDepth: 0,
		responseInterceptor: noteAnswer,
		onComplete: greet,
	});
}

// leaveOutEverywhere leaves out two headers that every request may carry: whoever tries
// something has no use for them.
function leaveOutEverywhere(spec) {
	const known = (parameter) => (parameter.$ref ? spec.components.parameters[parameter.$ref.split('/').pop()] : parameter);
	for (const path of Object.values(spec.paths)) {
		path.parameters = path.parameters?.filter((parameter) => !['X-Request-Id', 'traceparent'].includes(known(parameter).name));
	}
}

function forEachParameter(node, act) {
	if (typeof node?.in === 'string' && typeof node.name === 'string') {
		act(node);
	} else if (typeof node === 'object' && node !== null) {
		Object.values(node).forEach((part) => forEachParameter(part, act));
	}
}

// tellExamples moves the examples of what need not be sent into its description. Swagger
// UI would fill them in and send them: an Idempotency-Key that is always the same, an
// If-Match that matches nothing.
function tellExamples(parameter) {
	if (parameter.required) {
		return;
	}
	const values = [parameter.example, ...Object.values(parameter.examples ?? {}).map((example) => example.value)];
	const told = values.filter((value) => value !== undefined).map((value) => `\`${[value].flat().join(',')}\``);
	if (told.length > 0) {
		parameter.description = `${(parameter.description ?? '').trimEnd()} For example ${told.join(' or ')}.`;
	}
	delete parameter.example;
	delete parameter.examples;
}

// bearer is the security scheme of the document that takes the token.
function bearer() {
	const schemes = ui.specSelectors.specJson().getIn(['components', 'securitySchemes']);
	const name = schemes.findKey((scheme) => scheme.get('type') === 'http' && scheme.get('scheme') === 'bearer');
	return { name, schema: schemes.get(name) };
}

// expires is when a token does, as it says itself.
function expires(token) {
	const payload = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
	return new Date(JSON.parse(atob(payload)).exp * 1000);
}

function tell(token) {
	session.textContent = `Logged in until ${expires(token).toLocaleTimeString()}: the access token goes with what you try.`;
}

// greet tells whether a token was kept that is still good.
function greet() {
	const { name } = bearer();
	const token = ui.authSelectors.authorized().getIn([name, 'value']);
	if (!token) {
		session.textContent = 'Not logged in: try the login below.';
	} else if (expires(token) > new Date()) {
		tell(token);
	} else {
		ui.authActions.logoutWithPersistOption([name]);
		session.textContent = 'Your access token has expired: log in again.';
	}
}

// noteAnswer takes the token out of the answer to a login or a refresh.
function noteAnswer(answer) {
	const { pathname } = new URL(answer.url, location.href);
	if (/^\/api\/auth\/(login|refresh)\/?$/.test(pathname)) {
		if (answer.ok) {
			const { name, schema } = bearer();
			ui.authActions.authorizeWithPersistOption({ [name]: { name, schema, value: answer.obj.access } });
			tell(answer.obj.access);
		}
	} else if (answer.status === 401) {
		session.textContent = 'Not logged in, or the access token has expired: log in again.';
	}
	return answer;
}

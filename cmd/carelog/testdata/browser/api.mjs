// Does with the API page what a person does who sees it for the first time. Usage:
// node api.mjs BROWSER URL [SCREENSHOT]
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const [executablePath, base, screenshot] = process.argv.slice(2);
const quiet = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', ...quiet] });
try {
	await newcomer();
} finally {
	await browser.close();
}

async function newcomer() {
	const problems = [];
	const page = await open(problems);
	await session(page, /^Not logged in/);
	await tryOperation(page, 'get', '/api/patients/', undefined, 401); // what comes later is due to the token
	const password = 'a long and quiet river';
	await tryOperation(page, 'post', '/api/auth/register/', { name: 'Jane Roe', email: 'jane@example.com', password }, 201);
	await tryOperation(page, 'post', '/api/auth/login/', { username: 'jane@example.com', password }, 200);
	await session(page, /^Logged in until/);

	await page.reload();
	await session(page, /^Logged in until/);
	for (const name of ['Alice', 'Bob']) { // the second is no retry of the first
		await tryOperation(page, 'post', '/api/patients/', { first_name: name, last_name: 'Smith', age: 30, gender: 'Other' }, 201);
	}
	const list = await tryOperation(page, 'get', '/api/patients/', undefined, 200);
	const listed = JSON.parse(await list.locator('.live-responses-table .response .response-col_description code').first().textContent());
	assert.deepEqual(listed.map((patient) => patient.first_name), ['Alice', 'Bob']);
	if (screenshot) {
		await show(page, list);
	}
	assert.deepEqual(problems, ['Failed to load resource: the server responded with a status of 401 (Unauthorized)']);
	const kept = await page.evaluate(() => JSON.stringify(localStorage));
	assert.ok(!kept.includes('refresh') && !kept.includes(password), 'more than the access token is kept');
}

// open goes to the server's first page, as from its address alone, and notes what goes
// wrong from then on.
async function open(problems) {
	const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
	const page = await context.newPage();
	page.setDefaultTimeout(30_000);
	page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
	page.on('pageerror', (error) => problems.push(String(error)));
	page.on('requestfailed', (request) => problems.push(`${request.url()}: ${request.failure().errorText}`));
	page.on('request', (request) => {
		if (new URL(request.url()).origin !== base && !request.url().startsWith('data:')) {
			problems.push(`asked another server: ${request.url()}`);
		}
	});
	await page.goto(`${base}/`);
	assert.equal(page.url(), `${base}/api/docs/`);
	return page;
}

async function session(page, text) {
	await page.locator('#session').filter({ hasText: text }).waitFor();
}

// tryOperation unfolds an operation, if it is not yet, and executes it.
async function tryOperation(page, method, path, body, status) {
	const operation = page.locator(`.opblock-${method}:has([data-path="${path}"])`);
	if (!/is-open/.test(await operation.getAttribute('class'))) {
		await operation.locator('.opblock-summary-control').click();
	}
	if (body !== undefined) {
		await operation.locator('textarea.body-param__text').fill(JSON.stringify(body, null, 2));
	}
	const answer = page.waitForResponse((response) => response.request().method() === method.toUpperCase() && new URL(response.url()).pathname === path);
	await operation.getByRole('button', { name: 'Execute' }).click();
	await answer;
	const answered = operation.locator('.live-responses-table .response .response-col_status').first();
	await answered.waitFor();
	assert.match(await answered.textContent(), new RegExp(`^${status}`), `${method} ${path}`);
	return operation;
}

// show takes the picture of the README.
async function show(page, operation) {
	await page.setViewportSize({ width: 1280, height: 1365 });
	await operation.evaluate((element) => element.scrollIntoView());
	await page.screenshot({ path: screenshot });
}

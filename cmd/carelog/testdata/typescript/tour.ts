// The tour of the README, by a client that was generated from the OpenAPI document:
// what compiles is what the document promises, and what runs is what the server does.
import assert from 'node:assert/strict';
import { client } from './client/client.gen.js';
import {
  amendPatient, getDoctor, getPatient, listMappings, listMappingsOfPatient, listPatients, logIn, mapDoctor,
  registerDoctor, registerPatient, registerUser, removeDoctor, getPatientHistory, listEvents,
} from './client/sdk.gen.js';

client.setConfig({ baseUrl: process.env.BASE!, throwOnError: true });
const throwOnError = true as const;

await registerUser({ throwOnError, body: { name: 'John Doe', email: 'john@example.com', password: 'securepassword123' } });
const { data: tokens } = await logIn({ throwOnError, body: { username: 'john@example.com', password: 'securepassword123' } });
client.setConfig({ auth: () => tokens.access });

const alice = { first_name: 'Alice', last_name: 'Smith', age: 30, gender: 'Female' } as const;
const headers = { 'Idempotency-Key': 'tour-of-typescript' };
const { data: patient, response } = await registerPatient({ throwOnError, body: alice, headers });
assert.equal(patient.id, 1);
assert.equal(response.headers.get('Carelog-Position'), '2');
const { data: again } = await registerPatient({ throwOnError, body: alice, headers });
assert.deepEqual(again, patient);

const { data: doctor } = await registerDoctor({ throwOnError, body: {
  first_name: 'Dr. Sarah', last_name: 'Johnson', specialization: 'Cardiology', email: 'sarah.johnson@hospital.com', phone: '+1234567890' } });
const { data: mapping } = await mapDoctor({ throwOnError, body: { patient: patient.id, doctor: doctor.id } });
assert.equal(mapping.doctor_name, 'Dr. Sarah Johnson');

const etag = (await getPatient({ throwOnError, path: { id: patient.id } })).response.headers.get('ETag')!;
const { data: amended } = await amendPatient({ throwOnError, path: { id: patient.id }, headers: { 'If-Match': etag }, body: { last_name: 'Johnson', age: 31 } });
assert.equal(amended.age, 31);
const late = await amendPatient({ throwOnError: false, path: { id: patient.id }, headers: { 'If-Match': etag }, body: { age: 32 } });
assert.equal(late.response.status, 412);

const { data: mappings } = await listMappingsOfPatient({ throwOnError, path: { patient_id: patient.id } });
assert(Array.isArray(mappings) && mappings[0]?.patient_name === 'Alice Johnson');

const wrong = await registerPatient({ throwOnError: false, body: { first_name: 'Bob', age: 151, gender: 'Invalid' } as never });
assert.equal(wrong.response.status, 400);
assert.deepEqual((wrong.error as Record<string, unknown>)['age'], ['Ensure this value is less than or equal to 150.']);

await removeDoctor({ throwOnError, path: { id: doctor.id } });
assert.equal((await getDoctor({ throwOnError: false, path: { id: doctor.id } })).response.status, 404);
assert.deepEqual((await listMappings({ throwOnError })).data, []);

const { data: page } = await listPatients({ throwOnError, query: { limit: 10 } });
assert(!Array.isArray(page) && page.count === 1 && page.results[0]?.last_name === 'Johnson');
const { data: then } = await getPatient({ throwOnError, path: { id: patient.id }, query: { as_of: '2' } });
assert.equal(then.last_name, 'Smith');
const { data: history } = await getPatientHistory({ throwOnError, path: { id: patient.id } });
assert.deepEqual(history.results.map((e) => e.type), ['patient.registered', 'mapping.created', 'patient.amended', 'mapping.removed']);
const { data: events } = await listEvents({ throwOnError, query: { types: ['doctor.removed'] } });
assert(typeof events === 'object' && 'results' in events && events.results[0]?.subject === 'doctor/1');
console.log('done');

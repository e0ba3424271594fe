import { Stripe } from 'stripe';
export default async () => {
  const stripe = new Stripe('sk_test_1');
  const payload = JSON.stringify({ id: 'evt_1', object: 'event' });
  const header = await stripe.webhooks.generateTestHeaderStringAsync({ payload, secret: 'whsec_1' });
  const event = await stripe.webhooks.constructEventAsync(payload, header, 'whsec_1');
  const customer = await stripe.customers.create({ email: 'a@example.com' });
  return { event: event.id, target: customer.target, body: customer.body };
};

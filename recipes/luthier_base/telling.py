"""Summaries by rule of service dialogues, whose turns say what was meant: who wanted what, what was offered, what came of it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

# What is wanted, and what may be said of it, by the names that the services have for it.
Piece = tuple[str, tuple[str, ...]]
_FROM_TO: list[Piece] = [
    (" from {}", ("from_location", "origin", "origin_city")), (" to {}", ("to_location", "destination", "destination_city")),
    (" on {}", ("leaving_date", "departure_date")), (" at {}", ("leaving_time", "departure_time", "outbound_departure_time")),
    (", back on {}", ("return_date",)), (" with {}", ("airlines",)), (" in {}", ("seating_class",)),
    (" for {}", ("travelers", "group_size", "passengers")),
]  # fmt: skip
_VISIT: list[Piece] = [
    (" with {}", ("stylist_name", "dentist_name", "doctor_name")), (" on {}", ("appointment_date",)), (" at {}", ("appointment_time",)),
]  # fmt: skip
_STAY: list[Piece] = [
    (" in {}", ("destination", "where_to", "location")), (" from {}", ("check_in_date",)), (" to {}", ("check_out_date",)),
    (" for {} nights", ("number_of_days",)), (" for {} people", ("number_of_adults",)), (", {} rooms", ("number_of_rooms",)),
]  # fmt: skip
_CAR: list[Piece] = [
    (", a {},", ("type", "car_type")), (" in {}", ("pickup_city",)), (" at {}", ("pickup_location",)), (" from {}", ("pickup_date",)),
    (" at {}", ("pickup_time",)), (" to {}", ("dropoff_date",)),
]  # fmt: skip
_SONG: list[Piece] = [(' "{}"', ("song_name",)), (" by {}", ("artist",)), (" from {}", ("album", "year")), (" on the {}", ("playback_device",))]
WANTED: dict[str, tuple[str, list[Piece]]] = {
    "CheckBalance": ("check the balance", [(" of the {} account", ("account_type",))]),
    "TransferMoney": ("send money", [(", {},", ("amount",)), (" to {}", ("recipient_account_name",)), (" from the {} account", ("account_type",))]),
    "FindBus": ("find a bus", _FROM_TO), "BuyBusTicket": ("buy bus tickets", _FROM_TO),
    "SearchOnewayFlight": ("find a flight", _FROM_TO), "SearchRoundtripFlights": ("find a return flight", _FROM_TO),
    "ReserveOnewayFlight": ("book a flight", _FROM_TO), "ReserveRoundtripFlights": ("book a return flight", _FROM_TO),
    "GetEvents": ("see what is in the calendar", [(" on {}", ("event_date",))]),
    "GetAvailableTime": ("see when there is time", [(" on {}", ("event_date",))]),
    "AddEvent": ("put", [(" {}", ("event_name",)), (" on {}", ("event_date",)), (" at {}", ("event_time",)), (" at {}", ("event_location",)), (" into the calendar", ())]),
    "FindEvents": ("find", [(" {}", ("category",)), (" events", ()), (" in {}", ("city_of_event", "city")), (" on {}", ("date",))]),
    "GetEventDates": ("know when", [(" {}", ("event_name",)), (" takes place", ()), (" in {}", ("city",))]),
    "BuyEventTickets": ("buy", [(" {}", ("number_of_seats", "number_of_tickets")), (" tickets", ()), (" for {}", ("event_name",)), (" on {}", ("date",)), (" in {}", ("city_of_event", "city"))]),
    "FindApartment": ("find an apartment", [(" with {} bedrooms", ("number_of_beds",)), (" in {}", ("area",))]),
    "ScheduleVisit": ("visit", [(" {}", ("property_name",)), (" on {}", ("visit_date",))]),
    "SearchHotel": ("find a hotel", _STAY), "SearchHouse": ("find a house to stay", _STAY),
    "ReserveHotel": ("book", [(" {}", ("hotel_name",)), *_STAY]), "BookHouse": ("book a house", _STAY),
    "FindMovies": ("find a", [(" {}", ("genre",)), (" film", ()), (" by {}", ("directed_by",)), (" in {}", ("location",))]),
    "PlayMovie": ("watch", [(" {}", ("title",))]),
    "GetTimesForMovie": ("know when", [(" {}", ("movie_name",)), (" is shown", ()), (" on {}", ("show_date",)), (" in {}", ("location",))]),
    "BuyMovieTickets": ("buy", [(" {}", ("number_of_tickets",)), (" tickets", ()), (" for {}", ("movie_name",)), (" on {}", ("show_date",)), (" at {}", ("show_time",))]),
    "LookupSong": ("find a song", _SONG), "LookupMusic": ("find a song", _SONG),
    "PlaySong": ("hear", _SONG), "PlayMedia": ("hear", _SONG),
    "GetCarsAvailable": ("find a car to rent", _CAR), "ReserveCar": ("rent a car", _CAR),
    "FindRestaurants": ("find a restaurant", [(" with {} food", ("cuisine",)), (" in {}", ("city",))]),
    "ReserveRestaurant": ("book a table", [(" for {}", ("party_size",)), (" at {}", ("restaurant_name",)), (" on {}", ("date",)), (" at {}", ("time",))]),
    "GetRide": ("get a taxi", [(" to {}", ("destination",)), (" for {}", ("number_of_riders", "number_of_seats"))]),
    "FindProvider": ("find somebody", [(" for {}", ("type",)), (" in {}", ("city",))]),
    "BookAppointment": ("make an appointment", _VISIT),
    "FindAttractions": ("find something to see", [(", a {},", ("category",)), (" in {}", ("location",))]),
    "GetWeather": ("know the weather", [(" in {}", ("city",)), (" on {}", ("date",))]),
}  # fmt: skip
NAMES = [
    "Amir", "Anna", "Ben", "Bilal", "Carla", "Chen", "Clara", "Daniel", "Dana", "Elif", "Emma", "Eric", "Farid", "Fiona", "Frank",
    "George", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jack", "Jane", "Jonas", "Julia", "Kamal", "Karen", "Kate", "Leo", "Lena", "Lily",
    "Luca", "Marco", "Maria", "Mark", "Maya", "Mei", "Mike", "Nadia", "Nina", "Noah", "Olga", "Omar", "Oscar", "Paula", "Peter", "Priya",
    "Rachel", "Ravi", "Rosa", "Sam", "Sara", "Sofia", "Steve", "Tara", "Tim", "Tom", "Vera", "Victor", "Wei", "Yara", "Yusuf", "Zoe",
]  # fmt: skip
_ASKED = ("Sum up this dialogue.", "What did {a} and {b} talk about?", "Say in a sentence or two what was said.", "Summarize:", "What came of this talk?")
_FIRST = ("{a} wants {b}'s help to {x}.", "{a} wants to {x}.", "{a} would like to {x}.", "{b} helps {a} to {x}.")
_NEXT = ("Then {a} wants to {x}.", "{a} also wants to {x}.", "{a} decides to {x}.", "After that {a} asks {b} to {x}.")
_FOUND = ("{b} suggests {x}.", "{b} finds {x}.", "{a} chooses {x}.", "{a} likes {x}.")
_ASKS = ("{b} tells {a} the {x}.", "{a} asks for the {x}.", "{a} wants to know the {x}.")
_DONE = ("{b} takes care of it.", "It is done.", "{b} confirms it.", "It works out.")
_FAILED = ("But it does not work.", "{b} cannot do it.", "It fails, {b} says.")
# What is offered, and what is asked of it.
_THINGS = (
    "title", "movie_name", "event_name", "song_name", "hotel_name", "restaurant_name", "property_name", "car_name", "airlines", "attraction_name",
    "stylist_name", "dentist_name", "doctor_name",
)  # fmt: skip
_ASKABLE = {
    "phone_number": "phone number", "street_address": "address", "address": "address", "address_of_location": "address", "price": "price",
    "fare": "price", "rent": "rent", "total_price": "price", "price_per_night": "price", "genre": "genre", "directed_by": "director",
    "star_rating": "rating", "average_rating": "rating", "theater_name": "theatre", "event_location": "place", "venue": "place",
    "origin_airport": "airport", "artist": "artist", "temperature": "temperature", "humidity": "humidity", "wind": "wind",
    "ride_fare": "price", "wait_time": "waiting time", "price_range": "prices",
}  # fmt: skip
Forms = tuple[str, ...]


def told(dialogue: Mapping[str, Any], rng: random.Random) -> tuple[str, str] | None:
    """Return a dialogue with a name before each turn, asked about or not, and its summary; None where nothing is known of it."""
    a, b = rng.choice([tuple(rng.sample(NAMES, 2))] * 6 + [("#Person1#", "#Person2#"), ("Customer", "Agent")])
    said = "\n".join(f"{a if turn['speaker'] == 'USER' else b}: {turn['utterance'].strip()}" for turn in dialogue["turns"])
    if a == "Customer":
        a, b = "the customer", "the agent"
    happened = (rng.choice(forms).format(a=a, b=b, x=x) for forms, x in events(dialogue))
    answer = " ".join(sentence[0].upper() + sentence[1:] for sentence in happened)
    if not answer:
        return None
    if rng.random() < 0.35:
        return said, answer
    asked = rng.choice(_ASKED).format(a=a, b=b)
    return (f"{asked}\n\n{said}" if rng.random() < 0.5 else f"{said}\n\n{asked}"), answer


def events(dialogue: Mapping[str, Any]) -> list[tuple[Forms, str]]:
    """Return what happens, each as the forms that may tell it and what they tell of."""
    found: list[tuple[Forms, Any]] = []
    known: dict[str, dict[str, str]] = {}
    offered = ""
    for turn in dialogue["turns"]:
        for frame in turn["frames"]:
            if (state := frame.get("state")) and (intent := state["active_intent"]) in WANTED:
                if intent not in known:
                    found.append((_NEXT if known else _FIRST, intent))
                # What is wanted may change until the next wish.
                known[intent] = {slot: values[0] for slot, values in state["slot_values"].items()}
            for action in frame["actions"]:
                act, values = action["act"], action["values"]
                if act == "OFFER" and values and action["slot"] in _THINGS:
                    offered = values[0]
                elif act == "SELECT" and offered:
                    found.append((_FOUND, offered))
                    offered = ""
                elif act == "REQUEST" and turn["speaker"] == "USER" and action["slot"] in _ASKABLE:
                    found.append((_ASKS, _ASKABLE[action["slot"]]))
                elif act in ("NOTIFY_SUCCESS", "NOTIFY_FAILURE"):
                    found.append((_DONE if act.endswith("SUCCESS") else _FAILED, ""))
    return [(forms, wish(x, known[x]) if forms in (_FIRST, _NEXT) else x) for forms, x in found]


def wish(intent: str, known: Mapping[str, str]) -> str:
    """Return what is wanted, with what is known of it."""
    verb, parts = WANTED[intent]
    said = [verb]
    for form, slots in parts:
        value = next((known[slot] for slot in slots if slot in known), None)
        if not slots or value is not None:
            said.append(form.format(value))
    return re.sub(r"\bon (?=today|tomorrow|next|this|day after)|,$", "", re.sub(r"\b1 (\w+)s\b", r"1 \1", "".join(said)))


def summaries(dialogues: Iterator[tuple[bool, Mapping[str, Any]]]) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Yield (held out, conversation) whose question is a dialogue and whose answer its summary."""
    rng = random.Random("what is told of a dialogue")
    for held, dialogue in dialogues:
        if (pair := told(dialogue, rng)) is not None:
            yield held, {"messages": [{"role": "user", "content": pair[0]}], "answer": pair[1], "source": "told"}
